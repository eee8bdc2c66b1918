"""What is known is drawn as what it is; what was not run is not drawn."""

from matplotlib.figure import Figure

from foreact.studies import picture
from foreact.studies.picture import draw


def cell(kind: str, change: str, figures: dict) -> dict:
    labels = {"task": "lift_cube", "change": change}
    return {
        "name": change,
        "labels": labels,
        "figures": figures,
        "is_done": bool(figures),
        "folder": f"{kind}/{change}",
    }


def estimate(middle: float) -> dict:
    return {"middle": middle, "low": middle - 0.01, "high": middle + 0.01}


def figures_of(monkeypatch) -> list[Figure]:
    """Return a list that will hold the figures that are drawn."""
    drawn = []

    class Kept(Figure):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            drawn.append(self)

    monkeypatch.setattr(picture, "Figure", Kept)
    return drawn


def test_successes_and_errors_stand_in_panels_of_their_own(tmp_path, monkeypatch) -> None:
    drawn = figures_of(monkeypatch)
    success, error = {"success": estimate(0.5)}, {"action_error": estimate(0.03)}
    cells = [
        cell("evaluation", "none", success),
        cell("evaluation", "not run", {}),
        cell("held_out", "none, error", error),
        cell("held_out", "other, error", error),
    ]
    draw(tmp_path / "figure.png", {"cells": cells})
    above, below = drawn[0].axes
    assert [above.get_xlabel(), below.get_xlabel()] == ["success, %", "action error, model units"]
    assert [label.get_text() for label in above.get_yticklabels()] == ["change none"]
    assert [len(axis.containers) for axis in (above, below)] == [1, 2], "points with their intervals"
    assert [label.get_text() for label in below.get_yticklabels()] == ["change none, error", "change other, error"]


def test_before_anything_was_run_that_is_said(tmp_path, monkeypatch) -> None:
    drawn = figures_of(monkeypatch)
    draw(tmp_path / "figure.png", {"cells": [cell("evaluation", "none", {})]})
    assert [text.get_text() for text in drawn[0].texts] == ["nothing was run yet"] and not drawn[0].axes


def test_of_successes_alone_there_is_one_row(tmp_path, monkeypatch) -> None:
    drawn = figures_of(monkeypatch)
    draw(tmp_path / "figure.png", {"cells": [cell("evaluation", "none", {"success": estimate(0.5)})]})
    (panel,) = drawn[0].axes
    assert panel.get_xlim() == (-3, 103) and (tmp_path / "figure.png").stat().st_size > 0
