"""From files to networks: what is reckoned is what is there, too little memory is told first, precisions, text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from foreact.codecs.text import UMT5Encoder
from foreact.errors import CheckpointError
from foreact.policy.policy import Policy
from foreact.policy.replay import replay
from foreact.policy.storage import assembly, placement
from foreact.policy.storage.placement import WORKING_SHARE, Footprint, Placement, layers
from foreact.shards import TensorFolder

WORDS = "pick up the red block"


def footprint_of(published, monkeypatch) -> Footprint:
    """What is reckoned before loading."""
    heard: list[Footprint] = []
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "check_memory", lambda footprint, placement, what: heard.append(footprint))
        published.load()
    return heard[0]


def networks_of(policy: Policy) -> list[nn.Module]:
    networks = policy.networks
    return [networks.model, networks.vae, networks.text_encoder._network]  # type: ignore[attr-defined]


def num_bytes(module: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


@pytest.mark.parametrize("dtype", ["stored", "bfloat16"])
def test_the_memory_reckoned_with_is_what_is_held(published, monkeypatch, dtype) -> None:
    footprint = footprint_of(published, monkeypatch)
    policy = published.load(dtype=dtype)
    cache = policy.start(WORDS).rollout.cache
    held = sum(num_bytes(network) for network in networks_of(policy))
    held += sum(value.nbytes for value in vars(cache).values() if isinstance(value, torch.Tensor))
    reckoned = footprint.device_bytes(Placement(dtype=dtype)) / (1 + WORKING_SHARE)
    assert held == pytest.approx(reckoned, rel=0.01)


def test_each_part_of_the_network_is_counted_where_it_belongs(published, monkeypatch) -> None:
    footprint, model = footprint_of(published, monkeypatch), published.load().networks.model
    inside = [part for layer in layers(model) for part in layer.modules() if isinstance(part, nn.Linear)]
    assert footprint.matrices == sum(matrix.weight.numel() for matrix in inside)
    assert footprint.matrices + footprint.others == sum(parameter.numel() for parameter in model.parameters())
    assert (footprint.num_layers, footprint.stored_bytes) == (2, 4)


def forbid_reading(monkeypatch) -> None:
    def read(self: TensorFolder, name: str) -> torch.Tensor:
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(TensorFolder, "read", read)


def test_too_little_memory_is_told_before_anything_is_read(published, monkeypatch) -> None:
    need = footprint_of(published, monkeypatch).device_bytes(Placement(dtype="bfloat16"))
    monkeypatch.setattr(placement, "free_bytes", lambda device: need)
    with monkeypatch.context() as patch:
        forbid_reading(patch)
        with pytest.raises(
            CheckpointError, match=r"this would fit: foreact\.load\(\.\.\., dtype='bfloat16'\)"
        ) as caught:
            published.load()
    assert str(published.source) in str(caught.value)
    published.load(dtype="bfloat16")


def test_when_nothing_fits_the_smallest_is_named(published, monkeypatch) -> None:
    monkeypatch.setattr(placement, "free_bytes", lambda device: 1000.0)
    forbid_reading(monkeypatch)
    with pytest.raises(CheckpointError, match="no option fits; the smallest, dtype='bfloat16', quantize='int8', needs"):
        published.load()


def test_bfloat16_is_used_everywhere(published) -> None:
    published = type(published)("no_guidance")  # few tokens: processors are slow at this precision
    policy = published.load(dtype="bfloat16")
    for network in networks_of(policy):
        assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    errors = {agreement.name: agreement.relative_error for agreement in replay(published.recording, policy)}
    assert 1e-3 < max(errors.values()) < 0.05


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_eight_bits_on_a_recording(published, kind: str) -> None:
    pytest.importorskip("torchao")
    policy = published.load(quantize=kind)
    errors = {agreement.name: agreement.relative_error for agreement in replay(published.recording, policy)}
    assert 1e-4 < max(errors.values()) < {"int8": 0.01, "fp8": 0.05}[kind]
    assert errors["text.positive"] < 1e-4 > errors["init_latent"], "the frozen networks keep their precision"


def test_eight_bits_of_bfloat16(published) -> None:
    pytest.importorskip("torchao")
    policy = published.load(quantize="int8", dtype="bfloat16")
    assert policy.networks.model.video.blocks[0].ffn_in.weight.qdata.dtype == torch.int8  # type: ignore[union-attr]
    assert all(np.isfinite(values).all() for values in published.roll_out(policy))


@pytest.mark.usefixtures("one_thread")
def test_files_of_mixed_precision_are_loaded_as_the_widest(published, copied: Path) -> None:
    """Trainers keep norms and tables in float32 beside matrices in bfloat16."""
    published.change_tensors(copied, lambda tensors: {name: value.bfloat16() for name, value in tensors.items()})
    narrow = published.load(copied)
    assert narrow.networks.model.video.embed.weight.dtype == torch.bfloat16
    keep = ("norm", "table", "time_embedder")
    published.change_tensors(
        copied, lambda t: {n: v.float() if any(kept in n for kept in keep) else v for n, v in t.items()}
    )
    mixed = published.load(copied)
    assert {parameter.dtype for parameter in mixed.networks.model.parameters()} == {torch.float32}
    published.change_tensors(copied, lambda tensors: {name: value.float() for name, value in tensors.items()})
    for mine, oracle in zip(published.roll_out(mixed), published.roll_out(published.load(copied)), strict=True):
        assert np.array_equal(mine, oracle)


@pytest.fixture
def loaded(monkeypatch, tmp_path: Path) -> Callable[[], int]:
    """How often the text encoder was loaded; instructions are kept in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    real, calls = UMT5Encoder.from_pretrained, []

    def from_pretrained(*folders: Path, **settings) -> UMT5Encoder:
        calls.append(folders)
        return real(*folders, **settings)

    monkeypatch.setattr(UMT5Encoder, "from_pretrained", from_pretrained)
    return lambda: len(calls)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("where", ["cpu", "release"])
def test_wherever_the_text_encoder_stays_the_actions_are_the_same(published, loaded, where) -> None:
    oracle = published.roll_out(published.load(text_encoder="keep"))
    assert loaded() == 1
    policy = published.load(text_encoder=where)
    assert loaded() == 1, "not before it is needed"
    for _ in range(2):
        assert all(np.array_equal(*pair) for pair in zip(published.roll_out(policy), oracle, strict=True))


@pytest.mark.parametrize(("where", "times"), [("keep", 1), ("cpu", 1), ("release", 3)])
def test_how_often_the_text_encoder_is_loaded(published, loaded, where, times: int) -> None:
    """Twice at the start, for the instruction and for none if it is let go each time, and for every new one."""
    policy = published.load(text_encoder=where)
    for instruction in ("one", "one", "two", "two", "one"):
        policy.start(instruction)
    assert loaded() == times
    again = published.load(text_encoder=where)
    for instruction in ("one", "two"):
        again.start(instruction)
    assert loaded() == times + (where == "keep"), "what has been read once is on disk"


def test_another_precision_is_another_text_encoder(published, loaded) -> None:
    published.load(text_encoder="cpu").start(WORDS)
    narrow = published.load(text_encoder="cpu", dtype="bfloat16")
    tokens = narrow.networks.text_encoder.encode([WORDS]).tokens
    assert loaded() == 2
    exact = published.load().networks.text_encoder.encode([WORDS]).tokens
    own = exact.abs().sum(dim=2)[0] > 0
    error = float((tokens[0, own] - exact[0, own]).norm() / exact.norm())
    assert 1e-4 < error < 0.05
