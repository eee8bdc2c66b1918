"""Settings that cannot be are told at once, with the names that would have worked."""

import draccus
import pytest
import torch
from foreact.embodiments import load_embodiment
from foreact.errors import CheckpointError, ConfigurationError, UnknownNameError
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature, PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.utils.constants import ACTION

from lerobot_policy_foreact import ForeactConfig, ForeactPolicy
from robots import CAMERA, Robot, seen_by


def test_lerobot_knows_it_by_its_name() -> None:
    assert PreTrainedConfig.get_choice_class("foreact") is ForeactConfig
    assert get_policy_class("foreact") is ForeactPolicy


def test_settings_survive_lerobots_json(tmp_path) -> None:
    config = ForeactConfig(device="cpu", cameras={"top": CAMERA}, window=(2, 9), n_action_steps=32, schedule="fast")
    config._save_pretrained(tmp_path)
    assert PreTrainedConfig.from_pretrained(tmp_path) == config
    overrides = ["--seed=7", '--cameras={"top": "observation.images.high"}']
    changed = PreTrainedConfig.from_pretrained(tmp_path, cli_overrides=overrides)
    assert (changed.seed, changed.cameras) == (7, {"top": "observation.images.high"})
    assert draccus.encode(config)["window"] == [2, 9]


def test_a_frame_every_stride_and_the_actions_between() -> None:
    config = ForeactConfig(device="cpu", latent_frames=3)
    assert config.observation_delta_indices == list(range(0, 33, 4))
    assert config.action_delta_indices == list(range(32))
    assert config.reward_delta_indices is None


@pytest.mark.parametrize(
    ("settings", "stored"),
    [
        ({"cameras": {"front": CAMERA}}, "unknown camera of the policy; got: 'front'; allowed: top"),
        ({"latent_frames": 1}, "latent_frames; got: 1"),
        ({"max_chunk": 0}, "max_chunk"),
        ({"window": (5, 4)}, "window"),
        ({"normalization_mapping": {"ACTION": NormalizationMode.MEAN_STD}}, "the checkpoint's own codec"),
    ],
)
def test_settings_that_cannot_be(settings, stored) -> None:
    with pytest.raises(ConfigurationError, match=stored):
        ForeactConfig(device="cpu", **settings).validate_features()


def test_one_key_for_two_cameras() -> None:
    robot = load_embodiment("aloha")
    told = {"left_wrist": "observation.images.wrist", "right_wrist": "observation.images.wrist"}
    with pytest.raises(ConfigurationError, match="a key of its own"):
        ForeactConfig(device="cpu", cameras=told).camera_keys(robot)
    keys = ForeactConfig(device="cpu", cameras={"left_wrist": "observation.images.wrist"}).camera_keys(robot)
    assert list(keys.items())[:2] == [("top", CAMERA), ("left_wrist", "observation.images.wrist")]


def test_names_that_are_unknown() -> None:
    with pytest.raises(UnknownNameError, match="exact, fast, turbo"):
        ForeactConfig(device="cpu", schedule="slow")
    with pytest.raises(CheckpointError, match="tiny-reactive"):
        ForeactPolicy(ForeactConfig(device="cpu", checkpoint="tinny"))


def test_a_folder_that_foreact_wrote_is_named_otherwise(policy, tmp_path) -> None:
    policy.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"policy\.checkpoint=DIR"):
        _ = ForeactConfig(device="cpu", pretrained_path=tmp_path).origin
    assert ForeactConfig(device="cpu", checkpoint=str(tmp_path)).timing == policy.embodiment.timing
    (tmp_path / "config.json").write_text('{"format": "another"}')
    with pytest.raises(CheckpointError, match="foreact init"):
        _ = ForeactConfig(device="cpu", checkpoint=str(tmp_path) + "/.").timing


def test_features_are_fitted_to_the_robot() -> None:
    picture, state = PolicyFeature(FeatureType.VISUAL, (3, 480, 640)), PolicyFeature(FeatureType.STATE, (14,))
    there = {CAMERA: picture, "observation.images.wrist": picture, "observation.state": state}
    config = ForeactConfig(device="cpu", input_features=dict(there))
    config.validate_features()
    assert config.input_features == {CAMERA: picture, "observation.state": state}
    assert config.output_features == {ACTION: PolicyFeature(FeatureType.ACTION, (14,))}
    for key, told in ((CAMERA, "no observation.images.top"), ("observation.state", "no observation.state")):
        lacking = {name: feature for name, feature in there.items() if name != key}
        with pytest.raises(ConfigurationError, match=told):
            ForeactConfig(device="cpu", input_features=lacking).validate_features()
    small = {ACTION: PolicyFeature(FeatureType.ACTION, (7,))}
    with pytest.raises(ConfigurationError, match=r"'action'; got: \(7,\); allowed: \(14,\)"):
        ForeactConfig(device="cpu", output_features=small).validate_features()


def test_a_dataset_of_another_rate() -> None:
    class Meta:
        fps = 30

    with pytest.raises(ConfigurationError, match="got: 30; allowed: 50"):
        ForeactPolicy(ForeactConfig(device="cpu"), dataset_meta=Meta())


def test_the_pipelines_change_no_numbers() -> None:
    config = ForeactConfig(device="cpu")
    config.validate_features()
    stats = {key: {"mean": torch.ones(14), "std": torch.full((14,), 3.0)} for key in (ACTION, "observation.state")}
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    seen, actions = seen_by([Robot(0)]), torch.randn(1, 14)
    passed = before(dict(seen))
    assert all(torch.equal(passed[key], seen[key]) for key in (CAMERA, "observation.state"))
    assert passed["task"] == seen["task"]
    assert torch.equal(after(actions), actions)
