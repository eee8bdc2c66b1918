"""A policy copied at another precision."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from foreact.commands.main import main
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.loading import load
from foreact.policy.storage.export import export_policy


@pytest.fixture
def saved(tiny, tmp_path) -> Path:
    tiny.policy().save_pretrained(tmp_path / "run" / "policy", provenance={"steps": 7})
    return tmp_path / "run"


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("stored", torch.float32)])
def test_a_copy_has_the_same_weights_at_its_precision(saved, tmp_path, precision: str, dtype: torch.dtype) -> None:
    export_policy(saved, tmp_path / "copy", precision, max_shard_bytes=20_000)
    assert len(list((tmp_path / "copy").glob("model-*.safetensors"))) > 1
    copy, original = load(tmp_path / "copy"), load(saved / "policy")
    for name, value in original.networks.model.state_dict().items():
        mine = copy.networks.model.state_dict()[name]
        assert mine.dtype == dtype and torch.equal(mine, value.to(dtype)), name
    vaes = (policy.networks.vae.state_dict() for policy in (copy, original))
    assert all(torch.equal(one, other) for one, other in zip(*(vae.values() for vae in vaes), strict=True))
    stored = json.loads((tmp_path / "copy" / "config.json").read_text())["provenance"]
    assert stored == {"steps": 7, "exported": {"precision": precision, "from": "policy"}}


def test_the_command_makes_a_policy_that_acts(tiny, saved, tmp_path, capsys) -> None:
    main(["export", str(saved), "--out", str(tmp_path / "copy")])
    assert "foreact.load(" in capsys.readouterr().out
    policy = load(tmp_path / "copy", dtype="float32")
    session = policy.start("push it")
    policy.observe_first(session, tiny.images(1), np.array([0.5, 0.4, 0.6], np.float32))
    assert np.isfinite(policy.predict(session).actions).all()


def test_what_is_no_policy_or_no_other_folder_is_refused(saved, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="the policy's own"):
        export_policy(saved, saved / "policy")
    with pytest.raises(CheckpointError, match="no file"):
        export_policy(tmp_path / "nothing", tmp_path / "copy")
    config = saved / "policy" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"format": "other"}))
    with pytest.raises(CheckpointError, match="format of"):
        export_policy(saved, tmp_path / "copy")


def test_a_target_that_cannot_be_written_is_refused(saved, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="a folder that can be written to"):
        export_policy(saved, tmp_path / "file")


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(saved, tmp_path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConfigurationError, match=r"disk space for .*copy; got: 1e-06 GB free; allowed: .* or more"):
        export_policy(saved, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
