from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from foreact.control.latency import constant
from foreact.evaluation import figures
from foreact.evaluation.episodes import evaluate_episode
from foreact.evaluation.figures import draw_imagination, draw_turns, standstills
from foreact.evaluation.imagination import FrameErrors


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


def test_the_title_says_what_the_figure_of_imagination_shows(tmp_path, monkeypatch) -> None:
    titles = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: titles.append(figure.axes[0].get_title(loc="left")))
    times, held = np.array([0.1, 0.2]), np.array([0.01, 0.01])
    for errors in (held / 10, held * 10, held[:0]):
        count = len(errors)
        drawn = FrameErrors(times[:count], errors, held[:count], np.array([0.1]))
        draw_imagination(tmp_path / "x.png", drawn)
    assert "10.0 dB nearer to the cameras' than a still one" in titles[0]
    assert "10.0 dB further from the cameras'" in titles[1] and titles[2].startswith("Nothing moved")


def test_figures_have_the_house_style_and_leave_the_users_own_alone(tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: seen.append(matplotlib.rcParams["axes.spines.top"]))
    matplotlib.rcParams["axes.spines.top"] = True
    errors = FrameErrors(np.array([0.1]), np.array([0.01]), np.array([0.02]), np.array([0.1]))
    for _ in range(2):
        draw_imagination(tmp_path / "x.png", errors)
        assert matplotlib.rcParams["axes.spines.top"] is True
    assert seen == [False, False]
