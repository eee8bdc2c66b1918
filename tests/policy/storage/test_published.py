"""Published weights: the same closed loop as any policy, the right robot, and every kind of damage named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import foreact
from foreact.embodiments import load_embodiment
from foreact.errors import CheckpointError, InputError
from foreact.policy.loading import load_published
from foreact.policy.storage.published import published_names, published_settings
from foreact.shards import ShardWriter

WEIGHTS = "diffusion_pytorch_model.safetensors"
ROBOTS = {"lingbot-va-posttrain-libero-long": "libero_published", "lingbot-va-posttrain-robotwin": "robotwin_aloha"}


def refused(published, folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        published.load(folder)
    return str(caught.value)


def split(folder: Path, num_bytes: int = 150_000) -> list[Path]:
    """Turn the transformer's one file into shards."""
    path = folder / "transformer" / WEIGHTS
    tensors = load_file(path)
    with ShardWriter(path.parent, "diffusion_pytorch_model", num_bytes) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor)
    return sorted(path.parent.glob("*-of-*.safetensors"))


def test_closed_loop(published, copied: Path) -> None:
    policy = published.load(copied)
    assert policy.networks.model.config.is_shared
    assert policy.actions_per_chunk == 8
    session = policy.start("put the bowl on the plate")
    policy.observe_first(session, published.images(1), np.zeros(0, np.float32))
    for number, num_actions in enumerate((4, 8, 8)):
        chunk = policy.predict(session)
        assert chunk.actions.shape == (num_actions, 7) and np.isfinite(chunk.actions).all()
        assert chunk.imagined_latents is not None
        assert chunk.imagined_latents.shape == (48, num_actions // 4, 4, 8)
        policy.observe(session, published.images(num_actions, seed=number), chunk.actions)
    assert session.rollout.num_observed == 1 + (4 + 8 + 8) // 4


def test_the_first_frame_takes_one_latent_frame_of_the_first_chunk(published) -> None:
    policy = published.load()
    session = policy.start("put the bowl on the plate")
    policy.observe_first(session, published.images(1), np.zeros(0, np.float32))
    with pytest.raises(InputError, match="at most 4, one chunk"):
        policy.observe(session, published.images(8), np.zeros((8, 7), np.float32))


@pytest.mark.usefixtures("one_thread")
def test_sessions_of_one_policy_do_not_meet(published) -> None:
    policy = published.load()
    alone = [published.roll_out(policy, seed=seed) for seed in (0, 1)]
    sessions = [policy.start("put the bowl on the plate", seed=seed) for seed in (0, 1)]
    for seed, session in enumerate(sessions):
        policy.observe_first(session, published.images(1, seed=seed), np.zeros(0, np.float32))
    firsts = [policy.predict(session).actions for session in sessions]
    for seed, (session, first) in enumerate(zip(sessions, firsts, strict=True)):
        policy.observe(session, published.images(4, seed=seed + 1), first)
    seconds = [policy.predict(session).actions for session in sessions]
    for oracle, first, second in zip(alone, firsts, seconds, strict=True):
        assert np.array_equal(oracle[0], first) and np.array_equal(oracle[1], second)
    assert not np.array_equal(firsts[0], firsts[1])


@pytest.mark.usefixtures("one_thread")
def test_a_settings_file_names_the_robot(published, copied: Path, tmp_path: Path) -> None:
    policy = foreact.load(copied, settings=published.settings_file(tmp_path / "robot.json"))
    assert policy.codec == published.settings.codec
    assert policy.config == published.settings.inference
    for mine, oracle in zip(published.roll_out(policy), published.roll_out(published.load()), strict=True):
        assert np.array_equal(mine, oracle)


@pytest.mark.parametrize("name", ROBOTS)
def test_the_name_of_released_weights_picks_their_robot(published, tmp_path: Path, name: str) -> None:
    folder = published.copy(tmp_path / name)
    robot = load_embodiment(ROBOTS[name])
    for policy in (foreact.load(folder), foreact.load(f"{folder}/")):
        assert policy.embodiment == robot
        assert policy.networks.model.config.canvas == robot.layout.canvas_shape(16)
        assert (policy.codec, policy.config) == published_settings(name)


def test_settings_by_name_win_over_the_folder_s(published, tmp_path: Path) -> None:
    libero, robotwin = ROBOTS
    policy = foreact.load(published.copy(tmp_path / libero), settings=robotwin)
    assert policy.embodiment.name == ROBOTS[robotwin]


def test_base_weights_drive_no_robot(published, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="published without one") as caught:
        foreact.load(published.copy(tmp_path / "lingbot-va-base"))
    assert "settings=" in str(caught.value) and all(name in str(caught.value) for name in ROBOTS)


def test_an_unknown_folder_asks_for_settings(copied: Path) -> None:
    with pytest.raises(CheckpointError, match="settings=, a JSON file or one of: lingbot-va-base") as caught:
        foreact.load(copied)
    assert str(copied) in str(caught.value)


def test_unknown_settings_list_the_known() -> None:
    with pytest.raises(
        CheckpointError, match=f"'aloha'; allowed: a JSON file, or one of: {', '.join(published_names())}"
    ):
        published_settings("aloha")


def test_a_settings_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file .*robot\.json"):
        published_settings(tmp_path / "robot.json")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"actions": None}, "robot of robot"),
        ({"actions": 3}, r"settings in .*robot\.json"),
        ({"actions": {}}, r"settings in .*robot\.json"),
        ({"inference": None}, r"settings in .*robot\.json"),
        ({"inference": {"speed": 3}}, "speed"),
        ({"inference": {"video_steps": "many"}}, "video_steps"),
    ],
)
def test_damaged_settings_are_refused(published, tmp_path: Path, changes: dict, named: str) -> None:
    with pytest.raises(CheckpointError, match=named):
        published_settings(published.settings_file(tmp_path / "robot.json", **changes))


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "tokenizer"])
def test_a_missing_part_is_named(published, copied: Path, part: str) -> None:
    shutil.rmtree(copied / part)
    assert f"no folder {part}/" in refused(published, copied)


@pytest.mark.usefixtures("one_thread")
def test_shards_are_as_good_as_one_file(published, copied: Path) -> None:
    assert len(split(copied)) > 1
    assert published.load(copied).digest() == published.load().digest()


def test_a_missing_shard_is_named(published, copied: Path) -> None:
    shards = split(copied)
    shards[1].unlink()
    message = refused(published, copied)
    assert f"no file {shards[1].name}" in message and "fetch what is missing" in message


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t | {"tail.weight": torch.zeros(1)}, "'tail.weight'"),
        (
            lambda t: {n: v for n, v in t.items() if n != "blocks.1.ffn.net.2.bias"},
            "missing: video.blocks.1.ffn_out.bias",
        ),
        (lambda t: {n: v for n, v in t.items() if n != "action_proj_out.bias"}, "missing: action.head.bias"),
        (lambda t: t | {"action_embedder.weight": torch.zeros(64, 29)}, r"action.embed.weight [64, 29] where [64, 30]"),
        (lambda t: t | {"blocks.2.norm2.bias": torch.zeros(64)}, "unknown: video.blocks.2.text_norm.bias"),
    ],
    ids=["unknown", "missing layer's", "missing end's", "wrong shape", "a layer too many"],
)
def test_strange_tensors_are_named(published, copied: Path, change, named: str) -> None:
    published.change_tensors(copied, change)
    assert named in refused(published, copied)


@pytest.mark.parametrize("part", ["transformer/" + WEIGHTS, "vae/" + WEIGHTS, "text_encoder/model.safetensors"])
@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_truncated_file_is_named(published, copied: Path, part: str, size: int) -> None:
    path = copied / part
    path.write_bytes(path.read_bytes()[:size])
    message = refused(published, copied)
    assert str(path) in message and "truncated" in message


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("part", "stem"), [("transformer", "diffusion_pytorch_model"), ("text_encoder", "model")], ids=["network", "text"]
)
def test_pickles_are_refused_and_the_conversion_shown_works(published, copied: Path, part: str, stem: str) -> None:
    weights, pickle = copied / part / f"{stem}.safetensors", copied / part / f"{stem}.bin"
    torch.save(load_file(weights), pickle)
    weights.unlink()
    message = refused(published, copied)
    assert pickle.name in message and "can run code" in message
    program = message[message.index("import torch") :]
    exec(program, {})
    again, oracle = published.load(copied), published.load()
    assert again.digest() == oracle.digest()
    words = [policy.networks.text_encoder.encode(["pick up the red block"]).tokens for policy in (again, oracle)]
    assert torch.equal(*words) and words[0].any()


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_configuration_is_named(published, copied: Path, text: str) -> None:
    (copied / "transformer/config.json").write_text(text)
    assert str(copied / "transformer/config.json") in refused(published, copied)


def test_a_missing_configuration_is_named(published, copied: Path) -> None:
    (copied / "transformer/config.json").unlink()
    assert f"no file {copied / 'transformer/config.json'}" in refused(published, copied)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"_class_name": "CogVideoXTransformer3DModel"}, "allowed: WanTransformer3DModel"),
        ({"_class_name": "AutoencoderKLWan", "num_attention_heads": None}, "allowed: WanTransformer3DModel"),
        ({"patch_size": [1, 1, 1]}, "allowed: [1, 2, 2]"),
        ({"patch_size": None}, "allowed: [1, 2, 2]"),
        ({"cross_attn_norm": False}, "cross_attn_norm"),
        ({"num_layers": "2"}, "num_layers"),
        ({"num_layers": 2.0}, "num_layers"),
        ({"num_layers": True}, "num_layers"),
        ({"num_layers": 0}, "num_layers"),
        ({"ffn_dim": None}, "ffn_dim"),
        ({"eps": "small"}, "eps"),
        ({"eps": 0}, "eps"),
        ({"attention_head_dim": 5}, "video_width / num_heads; got: 5"),
        ({"attention_head_dim": 16}, "action.embed.weight [64, 30] where [32, 30] is allowed"),
        ({"num_layers": 1}, "unknown: video.blocks.1."),
        ({"num_layers": 3}, "missing: video.blocks.2."),
        ({"text_dim": 32}, "video.text_in.weight [64, 48] where [64, 32] is allowed"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_configurations_of_other_networks_are_refused(published, copied: Path, changes: dict, named: str) -> None:
    published.change_config(copied, **changes)
    assert named in refused(published, copied)


@pytest.mark.parametrize(
    ("layout", "timing", "named"),
    [
        ({"height": 60}, {}, "60x64"),
        ({}, {"vae_factor": 2, "camera_stride": 2}, "camera frames per latent frame of 'recorded'; got: 4; allowed: 2"),
    ],
)
def test_a_robot_that_the_weights_cannot_see_through_is_refused(
    published, layout: dict, timing: dict, named: str
) -> None:
    codec, robot = published.settings.codec, published.settings.codec.embodiment
    robot = replace(robot, layout=replace(robot.layout, **layout), timing=replace(robot.timing, **timing))
    with pytest.raises(CheckpointError, match=named):
        load_published(published.source, replace(codec, embodiment=robot), published.settings.inference)


def as_wan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    video = {name: value for name, value in tensors.items() if "action" not in name and "patch" not in name}
    patches = tensors["patch_embedding_mlp.weight"].unflatten(1, (48, 1, 2, 2))
    return video | {"patch_embedding.weight": patches, "patch_embedding.bias": tensors["patch_embedding_mlp.bias"]}


def test_a_layer_too_many_is_named_in_eight_bits_too(published, copied: Path) -> None:
    pytest.importorskip("torchao")
    published.change_config(copied, num_layers=1)
    with pytest.raises(CheckpointError, match=r"unknown: video\.blocks\.1\."):
        published.load(copied, quantize="int8")


@pytest.mark.parametrize("settings", [None, "lingbot-va-posttrain-libero-long"])
def test_wans_own_weights_are_no_policy(published, copied: Path, settings: str | None) -> None:
    published.change_tensors(copied, as_wan)
    published.change_config(copied, action_dim=None)
    with pytest.raises(CheckpointError, match=f"know no actions.*foreact init --from {copied}"):
        foreact.load(copied, settings=settings)
