import numpy as np
import pytest

from foreact.control.report import Tally
from foreact.evaluation.smoothness import commands_by_tick, seam_jerk


def report(commands: list[float], ticks: list[int]):
    tally = Tally(executed=[np.array([c], np.float32) for c in commands], wall_ticks=ticks)
    return tally.report(None, worker_ended=True)


def test_held_commands_are_repeated() -> None:
    assert commands_by_tick(report([1, 2, 3], [4, 5, 8])).ravel().tolist() == [1, 2, 2, 2, 3]
    assert len(commands_by_tick(report([], []))) == 0


def test_a_parabola_has_no_jerk_and_a_step_has() -> None:
    """A step of 1 has third differences 1, -2, 1, and 0 once it has passed."""
    smooth = [0.5 * t**2 for t in range(12)]
    assert seam_jerk(report(smooth, list(range(12))), [6], 2.0) == pytest.approx(0, abs=1e-5)
    step = [float(t >= 6) for t in range(12)]
    assert seam_jerk(report(step, list(range(12))), [6], 2.0) == pytest.approx(8 * np.sqrt((1 + 4 + 1 + 0) / 4))


def test_no_seam_no_jerk() -> None:
    assert seam_jerk(report([0.0] * 8, list(range(8))), [], 50.0) is None
    assert seam_jerk(report([0.0] * 8, list(range(8))), [9], 50.0) is None
