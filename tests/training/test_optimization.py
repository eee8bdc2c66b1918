import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from foreact.errors import ConfigurationError
from foreact.training.optimization import OptimizationConfig, make_optimizer, update_ema

CONFIG = OptimizationConfig(num_steps=110, warmup_steps=10, learning_rate=1e-3, final_share=0.1)


def test_warm_up_then_cosine() -> None:
    rates = [CONFIG.learning_rate_at(step) for step in range(111)]
    assert rates[:10] == pytest.approx([1e-4 * (n + 1) for n in range(10)])
    assert rates[10] == pytest.approx(1e-3)
    assert rates[60] == pytest.approx(1e-3 * (0.1 + 0.9 / 2))
    assert rates[35] == pytest.approx(1e-3 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2))
    assert rates[110] == pytest.approx(1e-4)
    assert all(before > after for before, after in pairwise(rates[10:]))
    assert CONFIG.learning_rate_at(5000) == pytest.approx(1e-4)


def test_no_warm_up_and_nothing_but_warm_up() -> None:
    assert OptimizationConfig(num_steps=5, warmup_steps=0, learning_rate=0.5).learning_rate_at(0) == 0.5
    only = OptimizationConfig(num_steps=5, warmup_steps=5, learning_rate=0.5)
    assert only.learning_rate_at(4) == 0.5 and math.isfinite(only.learning_rate_at(5))


def test_ema_forgets_its_random_start_quickly() -> None:
    config = OptimizationConfig(ema_decay=0.9)
    assert config.ema_decay_at(0) == pytest.approx(0.1)
    assert config.ema_decay_at(8) == pytest.approx(0.5)
    assert config.ema_decay_at(10_000) == 0.9
    decays = [config.ema_decay_at(step) for step in range(200)]
    assert decays == sorted(decays)


def test_ema_moves_in_place_towards_the_weights() -> None:
    averages = [torch.zeros(3), torch.full((2, 2), 4.0)]
    kept = list(averages)
    weights = [torch.ones(3, requires_grad=True), torch.full((2, 2), 8.0)]
    update_ema(averages, weights, 0.75)
    assert torch.equal(averages[0], torch.full((3,), 0.25))
    assert torch.equal(averages[1], torch.full((2, 2), 5.0))
    assert all(a is b for a, b in zip(averages, kept, strict=True))
    assert not averages[0].requires_grad


def test_only_matrices_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    config = OptimizationConfig(weight_decay=0.5, learning_rate=0.1, warmup_steps=0)
    optimizer = make_optimizer(model, config)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in model.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5) if name == "0.weight" else before[name]
        torch.testing.assert_close(value.detach(), expected)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_muon_moves_the_matrices_of_layers_alone_and_by_its_share_of_the_schedule(tiny) -> None:
    model = tiny.model()
    config = OptimizationConfig(learning_rate=1e-3, layer_matrices="muon", muon_learning_rate=0.05)
    optimizer = make_optimizer(model, config)
    (group,) = [group for group in optimizer.param_groups if group["lr_scale"] != 1]
    assert group["lr_scale"] == pytest.approx(50)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    moved = {names[id(parameter)] for parameter in group["params"]}
    assert "layers.0.video.ffn_in.weight" in moved and "layers.0.action.joint.to_q.weight" in moved
    assert not any(name.startswith(("video.embed", "video.head", "action.time")) for name in moved)
    assert all(model.get_parameter(name).ndim == 2 for name in moved)
    total = sum(len(group["params"]) for group in optimizer.param_groups)
    assert total == len(list(model.parameters()))


def test_a_run_may_be_shorter_than_its_warm_up() -> None:
    config = OptimizationConfig(num_steps=2, warmup_steps=4, learning_rate=1.0)
    assert [config.learning_rate_at(step) for step in range(2)] == [0.25, 0.5]


@pytest.mark.parametrize(
    "change",
    [
        {"num_steps": 0},
        {"warmup_steps": -1},
        {"learning_rate": 0.0},
        {"max_grad_norm": -1.0},
        {"ema_decay": 1.0},
        {"ema_decay": -0.1},
    ],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ConfigurationError):
        OptimizationConfig(**change)
