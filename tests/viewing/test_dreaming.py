"""Dreams that are steered by hand, with a toy network and with the shipped one."""

import io

import av
import numpy as np
import pytest
import torch
from PIL import Image

import foreact
from foreact.errors import ConfigurationError, InputError, UnknownNameError
from foreact.policy.viewer import LatentViewer
from foreact.viewing import dreaming
from foreact.viewing.dreaming import DreamStart, SteeredDream, film_from_bytes, infer_arms, picture_from_bytes
from foreact.viewing.starts import NAMES, shipped_start


@pytest.fixture(scope="module")
def shipped():
    return foreact.load("tiny")


def test_the_policy_decides_as_in_open_loop(shipped) -> None:
    start = shipped_start("lift_cube", shipped.embodiment)
    dream = SteeredDream(shipped, start, seed=3)
    dream.let_policy_decide()
    session = shipped.start(start.instruction, seed=3)
    shipped.observe_first(session, start.images, start.state)
    chunk = shipped.predict(session)
    assert np.array_equal(dream.actions, chunk.actions)
    assert dream.frames["top"].shape == (1 + 16, 64, 64, 3)
    dream.let_policy_decide()
    assert len(dream.actions) == 2 * len(chunk.actions) and len(dream.frames["top"]) == 1 + 32


def test_moved_arms_are_forward_dynamics_chunk_upon_chunk(tiny) -> None:
    """The same pictures as by hand: foresee, take what was foreseen for what happened, foresee again."""
    policy = tiny.policy(forward_dynamics=True)
    robot, num = policy.embodiment, policy.actions_per_chunk
    state = np.zeros(robot.num_state_entries, np.float32)
    start = DreamStart(images=tiny.images(1), state=state, instruction="push it")
    dream, other = (SteeredDream(policy, start, seed=5) for _ in range(2))
    targets = [dream.pose + 0.2, dream.pose + 0.1]
    for target in targets:
        dream.move_arms(target)

    session, viewer = policy.start("push it", seed=5), LatentViewer(policy.networks.vae, robot.layout)
    policy.observe_first(session, start.images, state)
    viewer.show(session.observed)
    pose, seen, per_frame = robot.hold_action(state), [], robot.timing.actions_per_latent_frame
    for target in targets:
        actions = np.linspace(pose, target, num + 1, dtype=np.float32)[1:]
        latents = policy.foresee(session, actions)
        seen.append(viewer.show(latents))
        universal = torch.from_numpy(policy.codec.encode(actions, session.initial_pose))
        policy.predictor.append_observed(session.rollout, latents, universal.unflatten(0, (-1, per_frame)))
        pose = target
    for camera in robot.cameras:
        by_hand = np.concatenate([clip[camera] for clip in seen]).astype(int)
        assert np.abs(dream.frames[camera][1:] - by_hand).max() <= 1, "the same but for rounding"
    assert dream.actions[[num - 1, -1]] == pytest.approx(np.stack(targets), abs=1e-6)
    for target in targets[::-1]:
        other.move_arms(target)
    assert not np.array_equal(other.frames["top"], dream.frames["top"]), "another way leads elsewhere"


def test_arms_are_read_from_a_film(shipped) -> None:
    """Inverse dynamics: nearer to the actions that made the film than arms that never move."""
    start = shipped_start("lift_cube", shipped.embodiment)
    dream = SteeredDream(shipped, start)
    dream.let_policy_decide()
    dream.let_policy_decide()
    inferred = infer_arms(shipped, dream.frames, start.state, start.instruction)
    assert inferred.shape == dream.actions.shape
    still = shipped.embodiment.hold_action(start.state)
    assert np.abs(inferred - dream.actions).mean() < 0.5 * np.abs(still - dream.actions).mean()


def test_what_cannot_be_dreamed_is_refused(shipped, tiny) -> None:
    start = shipped_start("lift_cube", shipped.embodiment)
    with pytest.raises(InputError, match=r"pose of the arms; got: shape \(3,\); allowed: 14 numbers"):
        SteeredDream(shipped, start).move_arms(np.zeros(3))
    with pytest.raises(InputError, match="film; got: 2 frames; allowed: 5 or more"):
        infer_arms(shipped, {"top": np.zeros((2, 8, 8, 3), np.uint8)}, start.state, "x")
    with pytest.raises(UnknownNameError, match="picture to dream from"):
        shipped_start("fold_shirt", shipped.embodiment)
    untrained = tiny.policy()
    images = {name: np.zeros((1, 16, 16, 3), np.uint8) for name in untrained.embodiment.cameras}
    state = np.zeros(untrained.embodiment.num_state_entries, np.float32)
    dream = SteeredDream(untrained, DreamStart(images=images, state=state, instruction="x"))
    with pytest.raises(ConfigurationError, match="forward_dynamics"):
        dream.move_arms(np.zeros(untrained.embodiment.num_dofs))


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_picture_has_an_instruction_that_the_policy_knows(shipped, name) -> None:
    assert shipped_start(name, shipped.embodiment).instruction in shipped.instructions


def test_pictures_and_films_are_read_from_bytes(monkeypatch, film_bytes) -> None:
    colours = np.linspace(0, 255, 20).astype(np.uint8)
    frames = np.broadcast_to(colours[:, None, None, None], (20, 32, 48, 3)).copy()
    read = film_from_bytes(film_bytes(frames, 25), 12.5)
    assert read.shape == (10, 32, 48, 3)
    assert np.abs(read[:, 0, 0, 0].astype(int) - colours[::2]).max() < 12
    assert len(film_from_bytes(film_bytes(frames, 5), 12.5)) == 1 + int(19 / 5 * 12.5)  # frames stay as long as shown
    file = io.BytesIO()
    Image.fromarray(frames[3]).save(file, format="PNG")
    assert np.array_equal(picture_from_bytes(file.getvalue()), frames[3][None])
    for read_bytes, what in ((picture_from_bytes, "picture"), (lambda content: film_from_bytes(content, 10.0), "film")):
        with pytest.raises(InputError, match=f"{what}; got: .*; allowed: "):
            read_bytes(b"no such thing")
    monkeypatch.setattr(dreaming, "MOST_PIXELS", 1000)
    with pytest.raises(InputError, match="picture; got: 48 x 32"):
        picture_from_bytes(file.getvalue())
    with pytest.raises(InputError, match="film; got: 48 x 32"):
        film_from_bytes(film_bytes(frames, 25), 12.5)
    monkeypatch.setattr(dreaming, "MOST_PIXELS", 1 << 20)
    monkeypatch.setattr(dreaming, "LONGEST_FILM_S", 0.4)
    assert len(film_from_bytes(film_bytes(frames, 25), 12.5)) == 6
    sound = io.BytesIO()
    with av.open(sound, "w", format="wav") as empty:
        empty.add_stream("pcm_s16le", rate=8000)
    with pytest.raises(InputError, match="film; got"):
        film_from_bytes(sound.getvalue(), 10.0)
