import numpy as np
import pytest
import torch

from foreact.policy.viewer import LatentViewer, hold_last, moving_frames, psnr_db, squared_errors


def latents(num_frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(4, num_frames, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_shown_chunk_by_chunk_is_the_whole_clip(tiny) -> None:
    viewer, whole = LatentViewer(tiny.vae(), tiny.embodiment().layout), latents(5)
    pieces = [viewer.show(whole[:, part]) for part in (slice(0, 1), slice(1, 3), slice(3, 5))]
    at_once = LatentViewer(tiny.vae(), tiny.embodiment().layout).show(whole)
    for camera in ("top", "wrist"):
        joined = np.concatenate([piece[camera] for piece in pieces])
        assert joined.shape == (9, 16, 8, 3)
        assert np.abs(joined.astype(int) - at_once[camera].astype(int)).max() <= 1


def test_peeking_leaves_no_trace(tiny) -> None:
    whole, viewers = latents(5), []
    for peeking in (True, False):
        viewer = LatentViewer(tiny.vae(), tiny.embodiment().layout)
        viewer.show(whole[:, :1])
        if peeking:
            viewer.peek(latents(2, seed=4))
            assert np.array_equal(viewer.peek(whole[:, 1:3])["top"], viewer.peek(whole[:, 1:3])["top"])
        viewers.append(viewer.show(whole[:, 1:3])["top"])
    assert np.array_equal(*viewers)


def test_errors_are_means_over_all_cameras_pixels() -> None:
    real = {"a": np.zeros((2, 2, 2, 3), np.uint8), "b": np.zeros((2, 1, 2, 3), np.uint8)}
    guess = {"a": real["a"].copy(), "b": real["b"].copy()}
    guess["a"][1] = 255
    np.testing.assert_allclose(squared_errors(guess, real), [0, 4 / 6])
    guess["b"][0] = 51
    np.testing.assert_allclose(squared_errors(guess, real), [0.04 * 2 / 6, 4 / 6], rtol=1e-6)


def test_still_frames_do_not_count_as_moving() -> None:
    last = {"a": np.full((3, 4, 4, 3), 7, np.uint8)}
    last["a"][:2] = 200
    clip = {"a": np.full((3, 4, 4, 3), 7, np.uint8)}
    clip["a"][1, :2] = 90
    assert moving_frames(clip, last).tolist() == [False, True, False]
    held = hold_last(last, 4)
    assert held["a"].shape == (4, 4, 4, 3) and (held["a"] == 7).all()


def test_psnr() -> None:
    assert psnr_db(1.0) == pytest.approx(0)
    assert psnr_db(0.01) == pytest.approx(20)
    assert psnr_db(0.0) == pytest.approx(120)
