"""What wants LeRobot: run by the Python of the environment that it is in, skipped by any other."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched

import numpy as np
import pytest
import torch

from foreact.data.episodes import EpisodeDataset

pytest.importorskip("lerobot")


def test_the_copy_holds_what_our_policy_sees(modules, tiny, tmp_path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    tiny.dataset(tmp_path / "source", lengths=(11, 9))
    layout, pictures = tiny.embodiment().layout, modules["pictures"]
    source = pictures.copy_demonstrations(tmp_path / "source", tmp_path / "copy", layout)
    copy = LeRobotDataset("local/copy", root=tmp_path / "copy")
    assert (len(copy), copy.num_episodes, copy.fps) == (20, 2, 50) and isinstance(source, EpisodeDataset)
    row = 0
    for episode in source:
        clips = {c: episode.frames(f"observation.images.{c}", range(episode.length)) for c in layout.cameras}
        shown = dict(layout.pictures(clips))
        for number in range(episode.length):
            item = copy[row]
            assert item["task"] == episode.instruction
            for name in ("action", "observation.state"):
                assert np.array_equal(item[name].numpy(), episode.column(name)[number])
            for camera, clip in shown.items():
                theirs = item[f"observation.images.{camera}"].permute(1, 2, 0) * 255
                np.testing.assert_allclose(theirs.numpy(), clip[number], atol=1e-3)
            row += 1
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*")}
    pictures.copy_demonstrations(tmp_path / "source", tmp_path / "copy", layout)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "copy").rglob("*")}


@pytest.mark.parametrize("name", ["act", "diffusion"])
def test_a_saved_policy_gives_the_chunk_that_lerobot_gives(modules, name: str, tmp_path) -> None:
    """Actions in the robot's units, from pictures and joints in theirs; another picture, other actions."""
    from lerobot.configs import FeatureType, PolicyFeature
    from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

    stored = modules["contestants"].policy_settings(name, 100)
    own = {
        key: value for key, value in stored.items() if key not in ("type", "push_to_hub", "pretrained_backbone_weights")
    }
    own |= {"use_group_norm": True, "down_dims": (16, 32, 64)} if name == "diffusion" else {}
    picture = PolicyFeature(FeatureType.VISUAL, (3, 64, 64))
    settings = make_policy_config(name, push_to_hub=False, pretrained_backbone_weights=None, **own)
    settings.input_features = {
        "observation.images.top": picture,
        "observation.state": PolicyFeature(FeatureType.STATE, (3,)),
    }
    settings.output_features = {"action": PolicyFeature(FeatureType.ACTION, (3,))}
    numbers = {"mean": [5.0] * 3, "std": [2.0] * 3, "min": [1.0] * 3, "max": [9.0] * 3}
    stats = {
        key: {part: torch.tensor(value) for part, value in numbers.items()} for key in ("action", "observation.state")
    }
    torch.manual_seed(0)
    policy = get_policy_class(name)(settings).eval()
    policy.save_pretrained(tmp_path)
    for pipeline in make_pre_post_processors(settings, dataset_stats=stats):
        pipeline.save_pretrained(tmp_path)
    predict, named = modules["evaluate"].load(tmp_path)
    assert named["parameters"] == sum(p.numel() for p in policy.parameters()) > named["backbone_parameters"] > 11e6

    def chunk(shade: int, joints: float) -> np.ndarray:
        torch.manual_seed(1)
        return predict({"top": np.full((64, 64, 3), shade, np.uint8)}, np.full(3, joints, np.float32))

    # ACT's numbers are less their mean over their spread, Diffusion Policy's from least to greatest are -1 to 1.
    middle, scale = (5.0, 2.0) if name == "act" else (5.0, 4.0)
    torch.manual_seed(1)
    shown = {"observation.images.top": torch.full((1, 3, 64, 64), 200 / 255)}
    with torch.no_grad():
        wanted = policy.select_action(shown | {"observation.state": torch.full((1, 3), (4.0 - middle) / scale)})
    first = chunk(200, 4.0)
    assert first.shape == (64, 3)
    np.testing.assert_allclose(first[:1], wanted.numpy() * scale + middle, atol=1e-3)
    assert np.array_equal(first, chunk(200, 4.0))
    assert not np.allclose(first, chunk(20, 4.0)) and not np.allclose(first, chunk(200, 6.0))
