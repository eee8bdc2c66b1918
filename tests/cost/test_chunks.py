"""What is timed is what runs: settings, counts and stages. No time is asserted."""

import pytest
import torch

from foreact.cost.accelerator import Accelerator, cost_of
from foreact.cost.ceilings import floor_ms, measure_ceilings, peak_bytes
from foreact.cost.chunks import Setting, time_chunks
from foreact.cost.random_policy import random_policy
from foreact.cost.subject import subject_of_recipe
from foreact.errors import ConfigurationError
from foreact.recipes import get_recipe

CPU = torch.device("cpu")


@pytest.mark.parametrize("settings", [{}, {"first_frame": "chunk"}, {"imagines": False}])
def test_settings_alternate_and_every_round_counts_but_the_first(tiny, settings: dict) -> None:
    policy = tiny.policy(**settings)
    asked = [Setting(history=0), Setting(history=8), Setting(history=8, sessions=3)]
    rounds = list(time_chunks(policy, asked, repeats=2))
    assert [done for done, _ in rounds] == [1, 2]
    timings = rounds[-1][1]
    assert [timing.setting for timing in timings] == asked
    for timing in timings:
        stages = {"encode", "append", "decode_actions"} | ({"imagine"} if policy.config.trained.imagines else set())
        assert set(timing.stage_ms) == stages
        assert timing.chunk_ms > 0 and timing.spread_ms >= 0
        assert timing.chunks_per_s == pytest.approx(1e3 * timing.setting.sessions / timing.chunk_ms)


def test_impossible_settings_are_refused(tiny) -> None:
    for wrong in (dict(history=-1), dict(history=0, sessions=0)):
        with pytest.raises(ConfigurationError):
            Setting(**wrong)
    with pytest.raises(ConfigurationError, match="repeats"):
        next(time_chunks(tiny.policy(), [Setting(history=0)], repeats=0))


def test_a_floor_is_the_longer_of_computing_and_moving() -> None:
    machine = Accelerator(name="a", flops_per_s=1e9, bytes_per_s=1e6)
    assert floor_ms(cost_of(5_000_000, 2), machine, torch.bfloat16) == pytest.approx(5.0)
    assert floor_ms(cost_of(2, 5_000), machine, torch.bfloat16) == pytest.approx(5.0)
    assert floor_ms(cost_of(2, 5_000), machine, torch.float32) == pytest.approx(10.0)


def test_ceilings_are_of_this_machine() -> None:
    ceilings = measure_ceilings(CPU, torch.float32)
    assert 1e9 < ceilings.flops_per_s < 1e14 and 1e8 < ceilings.bytes_per_s < 1e13
    assert peak_bytes(CPU) > 1e8


def test_a_random_policy_is_of_the_presets_sizes() -> None:
    subject = subject_of_recipe("tiny", get_recipe("tiny"))
    policy = random_policy(subject, CPU, torch.float32)
    assert policy.networks.model.config == subject.transformer
    assert policy.config == subject.inference
    timings = [timings for _, timings in time_chunks(policy, [Setting(history=4)], repeats=1)]
    assert timings[0][0].chunk_ms > 0
