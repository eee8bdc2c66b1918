from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from foreact.control.latency import constant
from foreact.evaluation.episodes import evaluate_episode
from foreact.evaluation.figures import draw_turns, standstills


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny.policy(forward_dynamics=True)


def test_standstills_are_the_times_without_an_action(policy, toy_env) -> None:
    """4 steps of waiting, 8 actions, 4 of waiting, 4 actions, 20 ms each."""
    _, record = evaluate_episode(policy, toy_env(), 5, latencies_s=constant(4 / 50))
    assert np.allclose(standstills(record, 0.4), [(0, 0.08), (0.24, 0.32)])
    assert np.allclose(standstills(record, 0.46), [(0, 0.08), (0.24, 0.32), (0.40, 0.46)])


def test_turns_are_drawn_with_answers_that_ask_to_see_first(policy, toy_env, tmp_path) -> None:
    records = {
        mode: evaluate_episode(policy, toy_env(), 5, mode=mode, latencies_s=constant(2 / 50))[1]
        for mode in ("synchronous", "grounded")
    }
    seen = records["grounded"].answers[-1]
    records["grounded"].answers.append(
        replace(seen, index=seen.index + 1, chunk=replace(seen.chunk, actions=seen.chunk.actions[:0], disagreement=1.0))
    )
    draw_turns(tmp_path / "turns.png", records, threshold=0.8, duration_s=dict.fromkeys(records, 0.4))
    with Image.open(tmp_path / "turns.png") as picture:
        assert picture.size[0] > 800
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
