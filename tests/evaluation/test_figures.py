from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from foreact.control.latency import constant
from foreact.evaluation import figures
from foreact.evaluation.episodes import evaluate_episode
from foreact.evaluation.figures import draw_actions, draw_turns, standstills


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
    draw_turns(
        tmp_path / "turns.png",
        records,
        threshold=0.8,
        duration_s=dict.fromkeys(records, 0.4),
        outcomes=dict.fromkeys(records, "done"),
    )
    with Image.open(tmp_path / "turns.png") as picture:
        assert picture.size[0] > 800
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Return a list that will hold the figures that are drawn."""
    kept = []

    class Kept(Figure):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            kept.append(self)

    monkeypatch.setattr(figures, "Figure", Kept)
    return kept


def test_axes_of_one_unit_span_the_same_and_joints_at_rest_are_named(policy, toy_env, tmp_path, drawn) -> None:
    _, record = evaluate_episode(policy, toy_env(), 5)
    first = record.executed.copy()
    ramp = np.linspace(0, 1, len(first), dtype=np.float32)
    # Two joints in radians, of which the second moves a fortieth as far as the first; a gripper of another unit.
    first[:] = np.stack([ramp, 0.025 * ramp, 0.2 * ramp], axis=1)
    chunks = [
        (replace(placed, chunk=replace(placed.chunk, actions=first[steps.start : steps.stop])), steps)
        for placed, steps in record.spans()
    ]
    moved = replace(record, executed=first)
    object.__setattr__(moved, "spans", lambda: chunks)
    draw_actions(tmp_path / "a.png", policy, moved)
    (figure,) = drawn
    shown = [axis for axis in figure.axes if axis.lines]
    assert [axis.get_ylabel().split("\n")[0] for axis in shown] == ["shoulder", "gripper"]
    assert "Hardly moving, not drawn: elbow." in figure.get_suptitle()
    low, high = shown[0].get_ylim()
    assert low < 0 and high > 1 and high - low == pytest.approx(1.1)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["predicted (a band, one colour for each chunk)", "executed (a line)"]


def test_a_dollar_sign_begins_no_formula(policy, tmp_path) -> None:
    dofs = tuple(replace(dof, name=f"${dof.name}_{{", unit="$") for dof in policy.embodiment.dofs)
    robot, chunk = replace(policy.embodiment, dofs=dofs), np.eye(8, 3)
    figures._draw_chunks(tmp_path / "a.png", robot, [chunk], np.zeros(1, int), executed=chunk, title="$x_{")
    assert (tmp_path / "a.png").stat().st_size > 0
