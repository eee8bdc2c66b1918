import numpy as np
import pytest

from foreact.control.report import Tally


def test_shares() -> None:
    tally = Tally(num_ticks=20, num_first_ticks=6, num_stopping_ticks=4, num_idle_ticks=5, num_late_ticks=2)
    tally.executed, tally.wall_ticks = [np.zeros(3, np.float32)] * 5, [6, 7, 8, 9, 15]
    report = tally.report("enough", worker_ended=True)
    assert report.executed.shape == (5, 3) and report.num_executed == 5
    assert report.executed_wall_ticks.tolist() == [6, 7, 8, 9, 15]
    assert report.idle_share == pytest.approx(0.5) and report.late_share == pytest.approx(0.1)
    assert report.reason == "enough" and report.num_idle_ticks == 5
