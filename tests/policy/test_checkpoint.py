import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.checkpoint import load, load_policy, save_policy, with_settings
from foreact.policy.policy import Policy

STATE = np.array([0.1, -0.2, 0.5], np.float32)


def rolled_out(policy: Policy, tiny) -> list[np.ndarray]:
    session = policy.start("push", seed=5)
    policy.observe_first(session, tiny.images(1), STATE)
    first = policy.predict(session)
    policy.observe(session, tiny.images(4), first.actions)
    second = policy.predict(session)
    return [first.actions, second.actions, first.imagined_latents, second.imagined_latents]


@pytest.fixture
def saved(tiny, tmp_path: Path) -> Path:
    policy = tiny.policy(window=5, video_guidance=2.0, s_stop=0.75)
    save_policy(policy, tmp_path / "policy", provenance={"steps": 7, "recipe": {"a": [1, 2]}})
    return tmp_path / "policy"


def test_round_trip_acts_the_same(tiny, one_thread, saved: Path) -> None:
    policy = tiny.policy(window=5, video_guidance=2.0, s_stop=0.75)
    again = load(saved)
    assert again.config == policy.config
    assert again.networks.model.config == policy.networks.model.config
    assert again.codec == policy.codec
    assert again.digest() == policy.digest()
    assert not again.networks.model.training and not again.networks.vae.training
    for mine, oracle in zip(rolled_out(again, tiny), rolled_out(policy, tiny), strict=True):
        assert np.array_equal(mine, oracle)


def test_files_are_plain(saved: Path) -> None:
    names = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    vae = {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"}
    assert names == {"config.json", "model.safetensors"} | vae
    assert json.loads((saved / "config.json").read_text())["provenance"] == {
        "steps": 7,
        "recipe": {"a": [1, 2]},
    }


def test_settings_can_be_changed_and_are_checked(tiny) -> None:
    policy = with_settings(tiny.policy(), video_steps=3, s_stop=0.5)
    assert (policy.config.video_steps, policy.config.s_stop) == (3, 0.5)
    with pytest.raises(ConfigurationError):
        with_settings(policy, s_stop=2.0)


@pytest.mark.parametrize("name", ["nonsense", "no/such/folder"])
def test_unknown_policies_list_the_known(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"a folder, or one of: (none ship|.*\w)") as caught:
        load(name)
    assert name in str(caught.value)


def test_shipped_names_are_listed(monkeypatch, tmp_path: Path, saved: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    saved.rename(tmp_path / "checkpoints/small")
    monkeypatch.setattr("foreact.policy.checkpoint.files", lambda package: tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load("small").config.window == 5
    with pytest.raises(CheckpointError, match="small"):
        load("smal")


def change_config(folder: Path, change) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "change",
    {
        "another width": lambda c: c["transformer"].update(video_width=48),
        "another depth": lambda c: c["transformer"].update(num_layers=3),
        "another canvas": lambda c: c["transformer"].update(canvas=[6, 4]),
        "impossible sizes": lambda c: c["transformer"].update(num_heads=7),
        "an unknown size": lambda c: c["transformer"].update(depth=3),
        "a size of the wrong type": lambda c: c["transformer"].update(num_layers="two"),
        "an unknown setting of inference": lambda c: c["inference"].update(speed=3),
        "impossible inference": lambda c: c["inference"].update(s_stop=3.0),
        "an unknown setting of the text encoder": lambda c: c["text_encoder"].update(language="en"),
        "another text width": lambda c: c["text_encoder"].update(dim=10),
        "an unknown setting of the robot": lambda c: c["actions"]["embodiment"].update(legs=2),
        "another picture size": lambda c: c["actions"]["embodiment"]["layout"].update(height=32),
        "no robot": lambda c: c.pop("actions"),
        "no sizes": lambda c: c.pop("transformer"),
        "sizes that are no table": lambda c: c.update(transformer=3),
        "another format": lambda c: c.update(format="foreact-policy-0"),
        "no format": lambda c: c.pop("format"),
    }.items(),
    ids=lambda item: item[0],
)
def test_other_configurations_are_refused(saved: Path, change) -> None:
    change_config(saved, change[1])
    with pytest.raises(CheckpointError):
        load_policy(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"config"'])
def test_a_damaged_configuration_is_refused(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_policy(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "vae/diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("size", [0, 4, 200, -1])
def test_truncated_weights_are_refused(saved: Path, name: str, size: int) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:size])
    with pytest.raises(CheckpointError):
        load_policy(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vae/config.json"])
def test_missing_files_are_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match="no file"):
        load_policy(saved)


def test_missing_and_surplus_weights_are_refused(saved: Path) -> None:
    path = saved / "model.safetensors"
    weights = load_file(path)
    missing = {name: value for name, value in weights.items() if name != "video.head.bias"}
    for wrong in (missing, weights | {"video.tail": torch.zeros(1)}):
        save_file(wrong, path)
        with pytest.raises(CheckpointError, match="weights"):
            load_policy(saved)


@pytest.mark.parametrize("failing_file", [1, 2, 3, 4])
def test_a_full_disk_leaves_a_whole_policy(tiny, saved: Path, monkeypatch, failing_file: int) -> None:
    """Whichever file cannot be written: an error, no litter, and every file there is a whole one."""
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing_file:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match="free some space"):
        save_policy(tiny.policy(), saved, provenance={})
    monkeypatch.undo()
    assert {path for path in saved.rglob("*") if path.is_file()} == set(before)
    assert load_policy(saved).actions_per_chunk == 8
