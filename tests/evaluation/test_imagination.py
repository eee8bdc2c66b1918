"""Imagined frames against the cameras', pictures and figures of an episode."""

import av
import numpy as np
import pytest
import torch
from PIL import Image

from foreact.control.dialogue import Placed
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.figures import draw_actions, draw_imagination
from foreact.evaluation.imagination import frame_errors, mean_psnr_db, real_and_imagined
from foreact.evaluation.pictures import write_video
from foreact.policy.viewer import LatentViewer


@pytest.fixture
def policy(tiny):
    return tiny.policy()


@pytest.fixture
def record(policy) -> EpisodeRecord:
    """Two whole chunks and a cut one, on pictures of noise."""
    rng = np.random.default_rng(0)

    def pictures(count: int) -> dict[str, np.ndarray]:
        return {c: rng.integers(0, 256, (count, 16, 8, 3), dtype=np.uint8) for c in policy.embodiment.cameras}

    session = policy.start("go")
    timing, first = policy.embodiment.timing, pictures(1)
    kept = EpisodeRecord(timing=timing)
    policy.observe_first(session, first, np.zeros(3, np.float32))
    clips, executed, length = [first], [], policy.actions_per_chunk
    kept.seen.append(session.observed)
    for index in range(3):
        chunk, num = policy.predict(session), length if index < 2 else 2
        clips.append(pictures(num // timing.camera_stride))
        executed.append(chunk.actions[:num])
        if index < 2:
            policy.observe(session, clips[-1], executed[-1])
            kept.seen.append(session.observed)
        kept.chunks.append(placed(chunk, index, length))
    kept.executed = np.concatenate(executed)
    kept.pictures = [{c: clip[c][k] for c in clip} for clip in clips for k in range(len(clip["top"]))]
    return kept


def placed(chunk, index: int, length: int) -> Placed:
    """A chunk that took effect in time."""
    return Placed(
        index=index,
        chunk=chunk,
        begin_tick=index * length,
        arrival_tick=index * length,
        asked_s=0.0,
        answered_s=0.0,
        num_under_way=0,
        num_prefix=0,
        delay_ticks=0,
        late=False,
    )


def test_imagined_frames_are_decoded_after_the_real_past(policy, record):
    turns = list(real_and_imagined(policy, record))
    assert [index for index, _, _ in turns] == [-1, 0, 1, 2]
    assert turns[0][2] is None
    viewer = LatentViewer(policy.networks.vae, policy.embodiment.layout)
    viewer.show(record.latents[:, :3])
    wanted = viewer.peek(torch.from_numpy(record.chunks[1].chunk.imagined_latents))
    for camera, clip in wanted.items():
        # Another number of frames at once may round a value to the other side, depending on the number of threads.
        assert np.abs(turns[2][2][camera].astype(int) - clip.astype(int)).max() <= 1


def test_errors_are_those_of_the_frames_that_were_seen(policy, record):
    errors = frame_errors(policy, record)
    frames = policy.actions_per_chunk // policy.embodiment.timing.camera_stride
    assert len(errors.imagined) == len(errors.held) == len(errors.time_s) == 2 * frames + 1
    assert np.all(np.diff(errors.time_s) > 0) and len(errors.chunk_starts_s) == 3
    real, imagined = list(real_and_imagined(policy, record))[1][1:]
    by_hand = np.mean([((real[c][0].astype(float) - imagined[c][0]) / 255) ** 2 for c in policy.embodiment.cameras])
    assert errors.imagined[0] == pytest.approx(by_hand, rel=1e-5)


def test_a_perfect_still_picture_counts_for_nothing(policy, record):
    for picture in record.pictures:
        for camera in picture:
            picture[camera][:] = record.pictures[0][camera]
    assert mean_psnr_db([frame_errors(policy, record)]) is None


def test_mean_psnr_weighs_every_frame_alike(policy, record):
    errors = frame_errors(policy, record)
    imagined, held = mean_psnr_db([errors, errors])
    assert imagined == pytest.approx(-10 * np.log10(errors.imagined.mean()))
    assert held == pytest.approx(-10 * np.log10(errors.held.mean()))


def test_the_video_shows_every_frame(policy, record, tmp_path):
    write_video(tmp_path / "episode.mp4", policy, record, "go, seed 0")
    with av.open(str(tmp_path / "episode.mp4")) as file:
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    frames = policy.actions_per_chunk // policy.embodiment.timing.camera_stride
    assert len(decoded) == 1 + 2 * frames + 1
    assert not np.array_equal(decoded[0], decoded[1])


def test_the_figures_are_pictures(policy, record, tmp_path):
    draw_actions(tmp_path / "actions.png", policy, record)
    draw_imagination(tmp_path / "imagination.png", frame_errors(policy, record))
    for name in ("actions.png", "imagination.png"):
        image = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert min(image.shape) > 200 and image.std() > 5
