import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from foreact.errors import CheckpointError
from foreact.training.optimization import OptimizationConfig, make_optimizer
from foreact.training.state import TrainingState

CONFIGURATION = {"recipe": {"seed": 0, "rate": 1e-3, "window": [4, 8]}, "episodes": [3]}


def new_state(seed: int = 0, layer_matrices: str = "adamw") -> TrainingState:
    torch.manual_seed(seed)
    blocks = nn.ModuleList([nn.Linear(2, 2)])
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "unused": nn.Linear(2, 2), "blocks": blocks})
    config = OptimizationConfig(learning_rate=0.1, layer_matrices=layer_matrices)
    return TrainingState(model, make_optimizer(model, config))


def advance(state: TrainingState, num_steps: int) -> None:
    for _ in range(num_steps):
        state.optimizer.zero_grad(set_to_none=True)
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(state.step))
        state.model["blocks"][0](state.model["used"](inputs)).square().mean().backward()
        state.optimizer.step()
        for name, value in state.model.named_parameters():
            state.ema[name].lerp_(value.detach(), 0.1)
        state.step += 1


def everything(state: TrainingState) -> dict[str, torch.Tensor]:
    tensors = {f"model.{n}": p.detach() for n, p in state.model.named_parameters()}
    return tensors | {f"ema.{n}": value for n, value in state.ema.items()}


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_going_on_equals_never_having_stopped(tmp_path: Path, one_thread, kind: str) -> None:
    straight, first, second = new_state(0, kind), new_state(0, kind), new_state(9, kind)
    advance(straight, 6)
    advance(first, 4)
    first.save(tmp_path / "s", CONFIGURATION)
    second.load(tmp_path / "s", CONFIGURATION)
    assert second.step == 4
    advance(second, 2)
    for name, value in everything(second).items():
        assert torch.equal(value, everything(straight)[name]), name
    straight.save(tmp_path / "a", CONFIGURATION)
    second.save(tmp_path / "b", CONFIGURATION)
    one, other = load_file(tmp_path / "a"), load_file(tmp_path / "b")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert "exp_avg.used.weight" in one and "exp_avg.unused.weight" not in one
    assert ("momentum_buffer.blocks.0.weight" in one) == (kind == "muon")


def test_the_average_begins_as_the_weights_and_goes_its_own_way() -> None:
    state = new_state()
    before = state.model["used"].weight.detach().clone()
    assert torch.equal(state.ema["used.weight"], before)
    with torch.no_grad():
        state.model["used"].weight.add_(1)
    assert torch.equal(state.ema["used.weight"], before)


def test_another_configuration_is_refused_and_named(tmp_path: Path) -> None:
    state, path = new_state(), tmp_path / "s"
    state.save(path, CONFIGURATION)
    other = {"recipe": {"seed": 1, "rate": 1e-3, "window": [4, 9]}, "episodes": [3], "extra": 1}
    before = {name: value.clone() for name, value in everything(state).items()}
    with pytest.raises(CheckpointError) as caught:
        state.load(path, other)
    message = str(caught.value)
    assert "recipe.seed: 0 there, 1 asked for" in message
    assert "recipe.window" in message and "extra" in message
    assert "recipe.rate" not in message and "episodes" not in message
    assert all(torch.equal(value, before[name]) for name, value in everything(state).items())


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_truncated_files_are_refused(tmp_path: Path, size: int) -> None:
    state, path = new_state(), tmp_path / "s"
    state.save(path, CONFIGURATION)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="delete it to begin anew"):
        state.load(path, CONFIGURATION)


@pytest.mark.parametrize(
    "header",
    [None, {}, {"step": "3"}, {"step": "3", "configuration": "{"}, {"configuration": "{}"}],
)
def test_foreign_files_are_refused(tmp_path: Path, header: dict | None) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "s", metadata=header)
    with pytest.raises(CheckpointError):
        new_state().load(tmp_path / "s", {})


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    state = new_state()
    state.save(tmp_path / "s", CONFIGURATION)
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "more": nn.Linear(2, 2)})
    other = TrainingState(model, make_optimizer(model, OptimizationConfig()))
    with pytest.raises(CheckpointError):
        other.load(tmp_path / "s", CONFIGURATION)


def test_a_full_disk_leaves_the_previous_state(tmp_path: Path, monkeypatch) -> None:
    state, path = new_state(), tmp_path / "s"
    advance(state, 2)
    state.save(path, CONFIGURATION)
    before = path.read_bytes()
    advance(state, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="the previous checkpoint stands"):
        state.save(path, CONFIGURATION)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    again = new_state()
    again.load(path, CONFIGURATION)
    assert again.step == 2


def test_a_disk_that_fills_while_tensors_are_written(tmp_path: Path, monkeypatch) -> None:
    state, path = new_state(), tmp_path / "s"
    state.save(path, CONFIGURATION)
    before = path.read_bytes()

    def half(tensors, target, metadata) -> None:
        Path(target).write_bytes(before[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foreact.training.state.save_file", half)
    with pytest.raises(CheckpointError, match="No space"):
        state.save(path, CONFIGURATION)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
