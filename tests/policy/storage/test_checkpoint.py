import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.loading import load, load_policy
from foreact.policy.policy import Policy, with_settings
from foreact.policy.storage import checkpoint
from foreact.policy.storage.checkpoint import find_policy, read_codec, save_policy
from foreact.policy.storage.placement import offload_layers

STATE = np.array([0.1, -0.2, 0.5], np.float32)
SHARED = dict(backbone="shared", action_width=24, action_ffn_dim=32, action_embedding="linear")


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
    assert names == {"config.json", "model.safetensors", "README.md"} | vae
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
    with pytest.raises(CheckpointError, match=r"a folder, \"owner/name\" on the hub, or one of: .*tiny") as caught:
        load(name)
    assert name in str(caught.value)


def test_shipped_names_are_listed(monkeypatch, tmp_path: Path, saved: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    saved.rename(tmp_path / "checkpoints/small")
    for module in ("checkpoint", "hub"):
        monkeypatch.setattr(f"foreact.policy.storage.{module}.files", lambda package: tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load("small").config.window == 5
    with pytest.raises(CheckpointError, match="small"):
        load("smal")


def change_config(folder: Path, change) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def test_what_was_trained_is_apart_from_what_is_chosen(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    assert not config["inference"].keys() & config["trained_for"].keys()
    assert "video_shift" in config["trained_for"] and "window" in config["inference"]


@pytest.mark.parametrize(("max_chunk", "largest"), [(None, None), (7, 7), (1, 2)])
def test_policies_of_the_earlier_format_load_unchanged(saved: Path, max_chunk: int | None, largest: int | None) -> None:
    """What they choose was allowed when they were saved, whatever their recipe says."""
    new = load(saved).config

    def as_before(config: dict) -> None:
        trained = config.pop("trained_for")
        del trained["largest_chunk"]
        config["format"] = "foreact-policy-1"
        config["inference"] |= trained
        config["provenance"] = {} if max_chunk is None else {"recipe": {"batch": {"max_chunk": max_chunk}}}

    change_config(saved, as_before)
    assert load(saved).config == replace(new, trained=replace(new.trained, largest_chunk=largest))


@pytest.mark.parametrize(
    "change",
    {
        "training that is not told": lambda c: c.pop("trained_for"),
        "an unknown fact of training": lambda c: c["trained_for"].update(speed=3),
        "a chunk larger than any of training": lambda c: c["trained_for"].update(largest_chunk=1),
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


def test_the_robot_is_read_without_weights(saved: Path) -> None:
    expected = load_policy(saved).codec.to_dict()
    for file in saved.rglob("*.safetensors"):
        file.unlink()
    assert read_codec(find_policy(saved)).to_dict() == expected
    change_config(saved, lambda c: c["actions"]["embodiment"].update(legs=2))
    with pytest.raises(CheckpointError, match="legs"):
        read_codec(saved)
    change_config(saved, lambda c: c.pop("format"))
    with pytest.raises(CheckpointError, match="format"):
        read_codec(saved)
    with pytest.raises(CheckpointError, match=r"one of: .*tiny"):
        find_policy("nonsense")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"config"'])
def test_a_damaged_configuration_is_refused(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_policy(saved)


def enlarge(settings: dict, name: str, value: object) -> None:
    *path, last = name.split("/")
    for each in path:
        settings = settings[each]
    settings[last] = value


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("config.json", "transformer/num_layers", 10**6),
        ("config.json", "transformer/video_ffn_dim", 10**12),
        ("config.json", "transformer/action_ffn_dim", 10**30),
        ("config.json", "transformer/text_dim", 10**9),
        ("config.json", "transformer/text_length", 10**10),
        ("config.json", "transformer/frequency_dim", 10**10),
        ("config.json", "inference/video_steps", 10**9),
        ("config.json", "inference/action_steps", 10**9),
        ("config.json", "text_encoder/max_length", 10**10),
        ("config.json", "inference/window", 10**12),
        ("vae/config.json", "base_dim", 10**5),
        ("vae/config.json", "base_dim", 10**9),
        ("vae/config.json", "num_res_blocks", 10**6),
        ("vae/config.json", "z_dim", 10**7),
        ("vae/config.json", "dim_mult", [1] * 10**5),
    ],
)
def test_what_is_larger_than_its_files_is_refused_before_it_is_built(saved: Path, file: str, name: str, value) -> None:
    settings = json.loads((saved / file).read_text())
    enlarge(settings, name, value)
    (saved / file).write_text(json.dumps(settings))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError) as refused:
        load_policy(saved)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200 * 1024


@pytest.mark.parametrize("file", ["config.json", "vae/config.json", "model.safetensors.index.json"])
def test_tables_in_tables_are_refused(saved: Path, file: str) -> None:
    (saved / "model.safetensors").unlink() if "index" in file else None
    (saved / file).write_text('{"a":' * 200_000 + "1" + "}" * 200_000)
    with pytest.raises(CheckpointError) as refused:
        load_policy(saved)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("file", ["config.json", "vae/config.json", "model.safetensors"])
def test_a_pipe_is_no_file(saved: Path, file: str) -> None:
    (saved / file).unlink()
    os.mkfifo(saved / file)
    with pytest.raises(CheckpointError):
        load_policy(saved)


def test_a_configuration_of_gigabytes_is_not_read(saved: Path) -> None:
    with (saved / "config.json").open("r+b") as file:
        file.truncate(4 * 2**30)
    with pytest.raises(CheckpointError, match="got: 4294967296 bytes; allowed: up to 16777216"):
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
    with pytest.raises(CheckpointError, match=Path(name).name):
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


@pytest.mark.parametrize("sizes", [{}, SHARED], ids=["a stream each", "shared backbone"])
def test_a_large_network_is_saved_in_shards(tiny, one_thread, monkeypatch, tmp_path: Path, sizes: dict) -> None:
    policy = tiny.policy(networks=tiny.networks(**sizes))
    monkeypatch.setattr(checkpoint, "MAX_SHARD_BYTES", 20_000)
    policy.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = {path.name for path in tmp_path.glob("model-*.safetensors")}
    assert len(shards) > 2 and set(index["weight_map"].values()) == shards
    assert not (tmp_path / "model.safetensors").exists()
    again = load(tmp_path)
    for mine, oracle in zip(rolled_out(again, tiny), rolled_out(policy, tiny), strict=True):
        assert np.array_equal(mine, oracle)


def test_saving_again_replaces_what_stood_there(tiny, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoint, "MAX_SHARD_BYTES", 20_000)
    tiny.policy().save_pretrained(tmp_path)
    monkeypatch.undo()
    other = tiny.policy(networks=tiny.networks(seed=4, num_layers=1), window=3)
    other.save_pretrained(tmp_path, provenance={"steps": 9})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors", "vae"]
    again = load(tmp_path)
    assert again.digest() == other.digest() and again.config.window == 3


def test_a_policy_can_be_saved_onto_itself(tiny, one_thread, saved: Path) -> None:
    before = rolled_out(load(saved), tiny)
    policy = load(saved)
    policy.save_pretrained(saved)
    for after in (rolled_out(policy, tiny), rolled_out(load(saved), tiny)):
        assert all(np.array_equal(*pair) for pair in zip(after, before, strict=True))


@pytest.mark.parametrize("dtype", ["stored", "bfloat16"])
def test_a_saved_policy_loads_at_the_precision_it_is_asked_for(tiny, one_thread, saved: Path, tmp_path: Path, dtype):
    policy = load(saved, dtype=dtype)
    policy.save_pretrained(tmp_path / "again")
    again = load(tmp_path / "again", dtype=dtype)
    assert {parameter.dtype for parameter in again.networks.model.parameters()} == {
        torch.float32 if dtype == "stored" else torch.bfloat16
    }
    for mine, oracle in zip(rolled_out(again, tiny), rolled_out(policy, tiny), strict=True):
        assert np.array_equal(mine, oracle)


@pytest.mark.usefixtures("one_thread")
def test_published_weights_come_back_in_our_own_format(published, copied: Path, tmp_path: Path) -> None:
    """All that is needed comes along, so the published folder may go."""
    policy = published.load(copied)
    saved = tmp_path / "saved"
    policy.save_pretrained(saved)
    oracle = [published.roll_out(policy, seed=seed) for seed in (0, 1)]
    shutil.rmtree(copied)
    assert {path.name for path in saved.iterdir()} == {
        *("README.md", "config.json", "model.safetensors", "text_encoder", "tokenizer", "vae")
    }
    again = load(saved)
    assert (again.config, again.codec, again.digest()) == (policy.config, policy.codec, policy.digest())
    for seed in (1, 0):
        for mine, theirs in zip(published.roll_out(again, seed=seed), oracle[seed], strict=True):
            assert np.array_equal(mine, theirs)
    again.save_pretrained(tmp_path / "again")
    assert load(tmp_path / "again").digest() == policy.digest()


def test_a_text_encoder_is_linked_and_copied_where_it_cannot_be(published, copied: Path, tmp_path, monkeypatch) -> None:
    policy, name = published.load(copied), "text_encoder/model.safetensors"
    policy.save_pretrained(tmp_path / "linked")
    assert (tmp_path / "linked" / name).samefile(copied / name)

    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    policy.save_pretrained(tmp_path / "copied")
    assert not (tmp_path / "copied" / name).samefile(copied / name)
    assert (tmp_path / "copied" / name).read_bytes() == (copied / name).read_bytes()


def test_another_text_encoder_replaces_the_one_that_stood_there(published, copied: Path, tmp_path: Path) -> None:
    saved, name = tmp_path / "saved", "text_encoder/model.safetensors"
    published.load().save_pretrained(saved)
    (saved / "text_encoder/model.safetensors.index.json").write_text("{}")
    weights = load_file(copied / name)
    save_file({key: value * 1.5 for key, value in weights.items()}, copied / name, metadata={"format": "pt"})
    other = published.load(copied)
    other.save_pretrained(saved)
    stored = [policy.networks.text_encoder.encode(["push"]).tokens for policy in (load(saved), other, published.load())]
    assert torch.equal(stored[0], stored[1]) and not torch.equal(stored[0], stored[2])
    assert {path.name for path in (saved / "text_encoder").iterdir()} == {"config.json", "model.safetensors"}
    original = published.source / name
    assert load_file(original)["shared.weight"].equal(weights["shared.weight"]), "a link is replaced, not written to"


def test_a_text_encoder_that_is_gone_cannot_be_saved(published, copied: Path, tmp_path: Path) -> None:
    policy = published.load(copied)
    shutil.rmtree(copied)
    with pytest.raises(CheckpointError, match=f"no folder {copied}/text_encoder.*load the policy anew"):
        policy.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_published_weights_are_not_mixed_with_ours(published, copied: Path) -> None:
    before = sorted(copied.rglob("*"))
    with pytest.raises(CheckpointError, match=f"{copied}.*choose another folder"):
        published.load(copied).save_pretrained(copied)
    assert sorted(copied.rglob("*")) == before


def test_a_text_encoder_that_did_not_come_along_is_named(published, tmp_path: Path) -> None:
    published.load().save_pretrained(tmp_path)
    shutil.rmtree(tmp_path / "text_encoder")
    with pytest.raises(CheckpointError, match="text_encoder"):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_eight_bits_are_loaded_and_not_saved(saved: Path, tmp_path: Path, kind) -> None:
    pytest.importorskip("torchao")
    policy = load(saved, quantize=kind)
    with pytest.raises(CheckpointError, match="held in 8 bits or offloaded; load it without quantize and offload"):
        policy.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_offloaded_layers_are_not_saved(saved: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    policy = load(saved)
    offload_layers(policy.networks.model, "cpu")
    with pytest.raises(CheckpointError, match="held in 8 bits or offloaded"):
        policy.save_pretrained(tmp_path / "again")


@pytest.mark.parametrize("options", [{"device": "abacus"}, {"offload": True}])
def test_options_that_cannot_be_are_refused(saved: Path, options: dict) -> None:
    with pytest.raises(ConfigurationError):
        load(saved, **options)


def test_too_little_memory_for_a_saved_policy(saved: Path, monkeypatch) -> None:
    monkeypatch.setattr("foreact.policy.storage.placement.free_bytes", lambda device: 10.0)
    with pytest.raises(CheckpointError, match=f"memory for the policy in {saved} on cpu"):
        load(saved)


def test_wan_itself_is_no_policy_and_is_not_fetched(monkeypatch) -> None:
    monkeypatch.setattr("foreact.policy.storage.checkpoint.resolve", lambda *_, **__: pytest.fail("it was fetched"))
    with pytest.raises(CheckpointError, match="foreact init --preset wan5b"):
        load("Wan-AI/Wan2.2-TI2V-5B-Diffusers")
