import time
from functools import cache

import numpy as np
import pytest

import foreact

pytest.importorskip("viser")

from foreact.viewing.choices import PlayChoices
from foreact.viewing.episode import Snapshot
from foreact.viewing.lane import gauge_text, point_on_plane, status_text
from foreact.viewing.page import PlayPage


def test_the_line_of_sight_meets_the_table_where_the_pointer_is() -> None:
    eye = np.array([0.0, -1.0, 1.0])
    met = point_on_plane(eye, np.array([0.05, -0.5, 0.5]), height_m=0.02)
    assert met == pytest.approx([0.098, -0.02, 0.02])
    assert point_on_plane(eye, np.array([0.0, 0.0, 1.0]), height_m=0.02) is None  # level
    assert point_on_plane(eye, np.array([0.0, 0.0, 2.0]), height_m=0.02) is None  # looks up


def test_the_state_is_said_in_words() -> None:
    choices = PlayChoices(seed=7)
    shown = Snapshot(
        number=1,
        phase="time up",
        choices=choices,
        time_s=3.25,
        stage="grasp",
        progress=0.25,
        num_chunks=4,
        events=("nudge at step 30",),
        late_share=0.0125,
    )
    said = status_text(shown)
    for words in ("**time up**", "lift_cube, seed 7", "grasp (25%)", "4 chunks", "nudge at step 30", "1.2%"):
        assert words in said
    failed = Snapshot(number=0, phase="failed", choices=choices, problem="no such policy")
    assert "no such policy" in status_text(failed)


def test_the_gauge_says_what_is_known_of_the_error() -> None:
    def of(controller: str, error: float | None) -> str:
        choices = PlayChoices(controller=controller)
        return gauge_text(Snapshot(number=1, phase="running", choices=choices, disagreement=error, threshold=1.0))

    assert "it never looks" in of("open_loop", None)
    assert "nothing to compare yet" in of("synchronous", None)
    assert "**0.62** (a surprise above 1.00)" in of("synchronous", 0.62)


@pytest.mark.sim
def test_a_page_without_a_browser_draws_every_instant_of_an_episode(tmp_path) -> None:
    load = cache(foreact.load)
    choices = PlayChoices(task="reach_cube")
    page = PlayPage(load, choices, policies=("tiny-disturbed",), port=0, films=tmp_path, urgent=False)
    try:
        deadline_s = time.monotonic() + 90
        while page.lanes[0].shown is None or page.lanes[0].shown.phase not in ("succeeded", "time up"):
            page.update()
            time.sleep(0.02)
            assert time.monotonic() < deadline_s
        page._save("Film", None)
        assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]
    finally:
        page.close()
