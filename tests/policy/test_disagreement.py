import pytest
import torch

from foreact.policy.disagreement import ImaginedFrames, frame_distances


def latents(*levels: float) -> torch.Tensor:
    return torch.tensor(levels, dtype=torch.float32)[None, :, None, None].expand(3, -1, 2, 2)


def test_distance_is_the_root_mean_square_of_each_frame() -> None:
    seen = torch.randn(3, 4, 2, 2)
    by_hand = [((seen[:, f] - 1) ** 2).mean() ** 0.5 for f in range(4)]
    assert frame_distances(latents(1, 1, 1, 1), seen).tolist() == pytest.approx([float(x) for x in by_hand])


def test_the_latest_imagination_of_a_frame_counts() -> None:
    frames = ImaginedFrames()
    frames.imagine(3, latents(1, 1, 1))
    frames.imagine(4, latents(5, 5))
    assert frames.observe(3, latents(0, 0)) == [1.0, 5.0]
    assert frames.observe(5, latents(0)) == [5.0]


def test_frames_never_imagined_are_left_out_and_seen_ones_forgotten() -> None:
    frames = ImaginedFrames()
    frames.imagine(1, latents(2, 2))
    assert frames.observe(0, latents(0, 0)) == [2.0]
    assert frames.observe(0, latents(0, 0)) == []
    assert frames.believed(1, 2) is None
    assert torch.equal(frames.believed(2, 1), latents(2))
    assert frames.believed(2, 0) is None
