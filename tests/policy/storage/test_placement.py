"""What memory a placement needs, what is said when it is not there, 8-bit matrices, and layers kept elsewhere."""

import itertools
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from foreact.errors import CheckpointError, ConfigurationError, install_command
from foreact.policy.policy import Policy
from foreact.policy.storage import placement as module
from foreact.policy.storage.placement import (
    QUANTIZED_BYTES,
    WORKING_SHARE,
    Footprint,
    Placement,
    check_memory,
    free_bytes,
    layers,
    offload_layers,
    place,
    placed_when_whole,
    quantize_layer,
)
from foreact.shards import load_strictly
from foreact.transformer.model import WorldActionModel

SIZES = Footprint(
    matrices=5_000_000,
    others=300_000,
    num_layers=30,
    vae=700_000,
    text_encoder=6_000_000,
    cache=900_000,
    stored_bytes=4,
)
GPU = Placement(device="cuda")
EIGHT_BITS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"device": "abacus"}, "device; got: abacus; allowed: cpu, cuda"),
        ({"device": "cuda", "offload": True, "quantize": "int8"}, "offload with quantize"),
        ({"device": "cpu", "offload": True}, "offload; got: device cpu; allowed: a CUDA device"),
    ],
)
def test_placements_that_cannot_be(settings: dict, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Placement(**settings)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("dtype", "stored, float32, bfloat16"), ("quantize", "none, int8, fp8"), ("text_encoder", "keep, cpu, release")],
)
def test_unknown_choices_list_the_known(name: str, allowed: str) -> None:
    placement = Placement()
    object.__setattr__(placement, name, "other")  # past the type checker of the tests
    with pytest.raises(ConfigurationError, match=f"{name}; got: other; allowed: {allowed}"):
        placement.__post_init__()


def test_a_placement_is_said_as_it_is_passed() -> None:
    said = Placement(device="cuda", dtype="bfloat16", text_encoder="cpu", offload=True)
    assert str(said) == "dtype='bfloat16', text_encoder='cpu', offload=True"
    assert eval(f"Placement(device='cuda', {said})") == said


def test_float32_takes_twice_what_bfloat16_takes() -> None:
    wide, narrow = (SIZES.device_bytes(Placement(dtype=dtype)) for dtype in ("float32", "bfloat16"))
    assert wide == 2 * narrow
    assert SIZES.device_bytes(Placement()) == wide, "as stored"
    assert replace(SIZES, stored_bytes=2).device_bytes(Placement()) == narrow


def test_everything_is_counted_once() -> None:
    numbers = SIZES.matrices + SIZES.others + SIZES.vae + SIZES.text_encoder + SIZES.cache
    assert SIZES.device_bytes(Placement()) == pytest.approx(4 * numbers * (1 + WORKING_SHARE))


def test_eight_bits_take_a_quarter_of_the_matrices() -> None:
    matrices = replace(SIZES, others=0, vae=0, text_encoder=0, cache=0)
    for kind in EIGHT_BITS:
        share = matrices.device_bytes(Placement(quantize=kind)) / matrices.device_bytes(Placement())
        assert share == pytest.approx(0.25, rel=0.02)
        saved = SIZES.device_bytes(Placement()) - SIZES.device_bytes(Placement(quantize=kind))
        assert saved == pytest.approx(0.75 * matrices.device_bytes(Placement()), rel=0.02), "and nothing else"


def test_offloading_keeps_two_layers_on_the_device_and_all_at_home() -> None:
    offloaded = replace(GPU, offload=True)
    saved = SIZES.device_bytes(GPU) - SIZES.device_bytes(offloaded)
    assert saved == pytest.approx(4 * SIZES.matrices * 28 / 30 * (1 + WORKING_SHARE))
    assert SIZES.host_bytes(offloaded) == 4 * SIZES.matrices
    assert SIZES.host_bytes(GPU) == SIZES.host_bytes(replace(GPU, quantize="int8")) == 0


@pytest.mark.parametrize("where", ["cpu", "release"])
def test_a_text_encoder_at_home_takes_ram_instead(where) -> None:
    elsewhere = replace(GPU, text_encoder=where)
    saved = SIZES.device_bytes(GPU) - SIZES.device_bytes(elsewhere)
    assert saved == pytest.approx(4 * SIZES.text_encoder * (1 + WORKING_SHARE))
    assert SIZES.host_bytes(elsewhere) == 4 * SIZES.text_encoder
    on_cpu = Placement(text_encoder=where)
    assert SIZES.device_bytes(on_cpu) == SIZES.device_bytes(Placement()), "there it is all one memory"
    assert SIZES.host_bytes(on_cpu) == 0


COUNTS = st.integers(0, 10**12)
PLACEMENTS = [
    Placement(device=device, dtype=dtype, quantize=quantize, text_encoder=text, offload=offload)
    for device, dtype, quantize, text, offload in itertools.product(
        ("cpu", "cuda"), ("stored", "bfloat16"), ("none", "int8"), ("keep", "release"), (False, True)
    )
    if not offload or (device == "cuda" and quantize == "none")
]


@given(
    counts=st.fixed_dictionaries({name: COUNTS for name in ("matrices", "others", "vae", "text_encoder", "cache")}),
    more=st.sampled_from(["matrices", "others", "vae", "text_encoder", "cache"]),
    placement=st.sampled_from(PLACEMENTS),
)
def test_more_to_hold_never_needs_less(counts: dict, more: str, placement: Placement) -> None:
    small = Footprint(num_layers=30, stored_bytes=4, **counts)
    large = replace(small, **{more: counts[more] + 1000})
    for need in (Footprint.device_bytes, Footprint.host_bytes):
        assert need(large, placement) >= need(small, placement)
    total = [need.device_bytes(placement) + need.host_bytes(placement) for need in (small, large)]
    assert total[1] > total[0]


def set_free(monkeypatch, **free: float) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda device: free[torch.device(device).type])


def refused(monkeypatch, placement: Placement, **free: float) -> str:
    set_free(monkeypatch, **free)
    monkeypatch.setattr(module, "GB", 1e6)
    with pytest.raises(CheckpointError) as caught:
        check_memory(SIZES, placement, "the policy")
    return str(caught.value)


def test_what_fits_is_not_refused(monkeypatch) -> None:
    set_free(monkeypatch, cpu=SIZES.device_bytes(Placement()))
    check_memory(SIZES, Placement(), "the policy")
    set_free(monkeypatch, cpu=0.0, cuda=SIZES.device_bytes(GPU))
    check_memory(SIZES, GPU, "the policy")


@pytest.mark.parametrize(
    "fitting",
    [
        Placement(dtype="bfloat16"),
        Placement(dtype="bfloat16", quantize="int8"),
        Placement(device="cuda", dtype="bfloat16"),
        Placement(device="cuda", text_encoder="release", dtype="bfloat16"),
        Placement(device="cuda", text_encoder="release", dtype="bfloat16", quantize="int8"),
        Placement(device="cuda", text_encoder="release", dtype="bfloat16", offload=True),
    ],
    ids=str,
)
def test_the_option_that_would_fit_is_named(monkeypatch, fitting: Placement) -> None:
    """Free is exactly what this option needs, and none before it on the list does with as little."""
    asked, need = Placement(device=fitting.device), SIZES.device_bytes(fitting)
    host = max(SIZES.host_bytes(fitting), need if fitting.on_cpu else 0)
    message = refused(monkeypatch, asked, cpu=host, cuda=need)
    assert f"this would fit: foreact.load(..., {fitting}), {need / 1e6:.1f} GB" in message
    assert f"memory for the policy on {fitting.device}; got: {need / 1e6:.1f} GB free" in message
    assert f"allowed: {SIZES.device_bytes(asked) / 1e6:.1f} GB or more for dtype='stored'" in message


def test_the_option_that_changes_no_number_comes_before_eight_bits(monkeypatch) -> None:
    released = Placement(device="cuda", dtype="bfloat16", text_encoder="release")
    rounded = Placement(device="cuda", dtype="bfloat16", quantize="int8")
    free = max(SIZES.device_bytes(released), SIZES.device_bytes(rounded))
    assert f"foreact.load(..., {released})" in refused(monkeypatch, GPU, cpu=1e12, cuda=free)


def test_when_nothing_fits_the_smallest_is_named(monkeypatch) -> None:
    least = Placement(dtype="bfloat16", quantize="int8")
    message = refused(monkeypatch, Placement(), cpu=1.0)
    assert f"no option fits; the smallest, {least}, needs {SIZES.device_bytes(least) / 1e6:.1f} GB" in message
    assert "offload=True" in refused(monkeypatch, GPU, cpu=0.0, cuda=0.0)


def test_too_little_ram_beside_the_device_is_told_as_such(monkeypatch) -> None:
    offloaded = replace(GPU, offload=True)
    message = refused(monkeypatch, offloaded, cpu=1e6, cuda=1e12)
    assert "memory for the policy on cpu; got: 1.0 GB free; allowed: 20.0 GB or more" in message
    assert "this would fit: foreact.load(..., dtype='stored')" in message


@pytest.mark.parametrize(
    ("limit", "used", "expected"),
    [(None, None, 900.0), (700, 100, 600.0), (5000, 100, 900.0), (700, None, 900.0), (100, 100, 0.0)],
)
def test_free_memory_is_what_the_control_group_allows(monkeypatch, limit, used, expected) -> None:
    stored = {"memory.max": limit, "memory.current": used}
    monkeypatch.setattr(module, "_read_number", lambda path: stored[path.name])
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=900))
    assert free_bytes("cpu") == expected


@pytest.mark.parametrize(("text", "number"), [("4096\n", 4096), ("max\n", None), ("", None), (None, None)])
def test_limits_are_read_where_there_are_any(tmp_path: Path, text, number) -> None:
    path = tmp_path / "memory.max"
    if text is not None:
        path.write_text(text)
    assert module._read_number(path) == number


def test_a_device_that_is_not_there_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigurationError, match="device; got: cuda:1; allowed: cpu, cuda:0"):
        free_bytes("cuda:1")


def roll_out(policy: Policy, tiny) -> list[np.ndarray]:
    session = policy.start("push", seed=5)
    policy.observe_first(session, tiny.images(1), np.array([0.1, -0.2, 0.5], np.float32))
    first = policy.predict(session)
    policy.observe(session, tiny.images(4), first.actions)
    second = policy.predict(session)
    return [second.actions, second.imagined_latents]


def relative_error(mine: np.ndarray, oracle: np.ndarray) -> float:
    return float(np.linalg.norm(mine - oracle) / np.linalg.norm(oracle))


def matrices_of(model: WorldActionModel) -> list[nn.Linear]:
    return [part for layer in layers(model) for part in layer.modules() if isinstance(part, nn.Linear)]


def num_bytes(weight: torch.Tensor) -> int:
    """Of a tensor of 8-bit numbers: these, and their scales."""
    names, _ = weight.__tensor_flatten__()
    return sum(getattr(weight, name).nbytes for name in names)


@pytest.mark.parametrize(("kind", "bound"), [("int8", 0.01), ("fp8", 0.05)])
def test_eight_bits_change_little_and_something(tiny, kind: str, bound: float) -> None:
    pytest.importorskip("torchao")
    exact, policy = tiny.policy(), tiny.policy()
    for layer in layers(policy.networks.model):
        quantize_layer(layer, kind)
    errors = [relative_error(*pair) for pair in zip(roll_out(policy, tiny), roll_out(exact, tiny), strict=True)]
    assert 1e-4 < max(errors) < bound
    matrices = {id(matrix.weight) for matrix in matrices_of(policy.networks.model)}
    for name, parameter in policy.networks.model.named_parameters():
        if id(parameter) in matrices:
            assert parameter.qdata.dtype == EIGHT_BITS[kind], name
        else:
            assert torch.equal(parameter, exact.networks.model.get_parameter(name)), name
    assert len(matrices) == 40


@pytest.mark.parametrize("kind", EIGHT_BITS)
def test_eight_bits_take_the_memory_that_is_reckoned_with(kind: str) -> None:
    pytest.importorskip("torchao")
    layer = nn.Sequential(nn.Linear(3072, 128))
    numbers = layer[0].weight.numel()
    quantize_layer(layer, kind)
    assert numbers < num_bytes(layer[0].weight) <= QUANTIZED_BYTES * numbers


@pytest.mark.parametrize("shuffled", [False, True])
def test_layers_are_quantised_as_they_fill(tiny, shuffled: bool) -> None:
    """Never more than one layer is whole and unquantised, if tensors come in order; all are in the end."""
    pytest.importorskip("torchao")
    source = tiny.model(num_layers=4)
    tensors = list(source.state_dict().items())
    if shuffled:
        random.Random(0).shuffle(tensors)
    with torch.device("meta"):
        model = WorldActionModel(source.config)
    wide = []

    def arriving() -> Iterator[tuple[str, torch.Tensor]]:
        for pair in placed_when_whole(model, tensors, Placement(quantize="int8")):
            yield pair
            whole = [type(m.weight.data) is torch.Tensor and not m.weight.is_meta for m in matrices_of(model)]
            wide.append(sum(whole))

    load_strictly(model, arriving(), what="toy")
    assert all(matrix.weight.qdata.dtype == torch.int8 for matrix in matrices_of(model))
    assert shuffled or max(wide) == 10, "one layer's matrices"
    oracle = tiny.model(num_layers=4)
    for layer in layers(oracle):
        quantize_layer(layer, "int8")
    for mine, theirs in zip(matrices_of(model), matrices_of(oracle), strict=True):
        assert torch.equal(mine.weight.qdata, theirs.weight.qdata)
        assert torch.equal(mine.weight.scale, theirs.weight.scale)


def test_nothing_is_quantised_unasked(tiny) -> None:
    model = tiny.model()
    tensors = list(model.state_dict().items())
    assert list(placed_when_whole(model, tensors, Placement())) == tensors
    assert all(type(parameter.data) is torch.Tensor for parameter in model.parameters())


def test_offloaded_layers_compute_the_same(tiny, one_thread) -> None:
    pytest.importorskip("accelerate")
    policy = tiny.policy()
    oracle = roll_out(policy, tiny)
    model = offload_layers(policy.networks.model, "cpu")
    assert all(matrix.weight.is_meta for matrix in matrices_of(model)), "they are here only while they compute"
    assert not model.video.embed.weight.is_meta
    assert all(np.array_equal(*pair) for pair in zip(roll_out(policy, tiny), oracle, strict=True))
    assert all(matrix.weight.is_meta for matrix in matrices_of(model))


def test_placing_on_the_cpu_changes_nothing(tiny) -> None:
    model = tiny.model()
    before = dict(model.named_parameters())
    assert place(model, Placement()) is model
    assert all(parameter is before[name] for name, parameter in model.named_parameters())


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("torchao.quantization", lambda model: quantize_layer(layers(model)[0], "int8")),
        ("accelerate", lambda model: offload_layers(model, "cpu")),
    ],
)
def test_a_missing_package_is_named_with_how_to_install_it(tiny, monkeypatch, package: str, use) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=re.escape(install_command("memory"))):
        use(tiny.model())
