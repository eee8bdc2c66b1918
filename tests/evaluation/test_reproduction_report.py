"""Success rates beside published ones."""

import json

import pytest

from foreact.errors import ConfigurationError
from foreact.evaluation.reproduction_report import TaskCount, build_report, compare, page, write_report
from foreact.evaluation.reproductions import REPRODUCTIONS, PublishedRate, Reproduction
from foreact.evaluation.statistics import difference_interval

RAN = {
    "policy": "mine",
    "digest": "0123456789abcdef",
    "inference": {"window": 8},
    "protocol": {"name": "libero-lingbot", "source": "there", "reference_versions": {"mujoco": "2.3.7"}},
    "versions": {"mujoco": "3.3.0", "numpy": "2"},
}


def test_interval_of_a_difference_is_newcombes() -> None:
    """His example: 56 of 70 less 48 of 80 is 0.2, with an interval of 0.0524 to 0.3339."""
    assert difference_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "episodes", "published", "verdict"),
    [
        (45, 50, PublishedRate(rate=0.9, num_episodes=50, source=""), "no difference found"),
        (10, 50, PublishedRate(rate=0.9, num_episodes=50, source=""), "lower"),
        (50, 50, PublishedRate(rate=0.5, num_episodes=50, source=""), "higher"),
        (45, 50, PublishedRate(rate=0.8, source=""), "no difference found"),
        (45, 50, PublishedRate(rate=0.99, source=""), "lower"),
        (45, 50, PublishedRate(rate=0.5, source=""), "higher"),
        (1, 2, PublishedRate(rate=0.9, num_episodes=50, source=""), "no difference found"),
    ],
)
def test_verdict_rests_on_intervals(successes, episodes, published, verdict) -> None:
    row = compare(successes, episodes, published)
    assert row["verdict"] == verdict and row["low"] <= row["rate"] <= row["high"]
    assert (row["difference_low"] is None) == (published.num_episodes is None)


def test_report_names_everything_that_decided_it(tmp_path) -> None:
    entry = REPRODUCTIONS["libero-long"]
    counts = [TaskCount(task=world, successes=49, episodes=50) for world in entry.worlds]
    report = build_report(entry, counts, planned=50, ran=RAN)
    assert report["is_whole"] and report["overall"]["successes"] == 490 and report["overall"]["verdict"]
    write_report(report, tmp_path / "new")
    assert json.loads((tmp_path / "new/report.json").read_text()) == report
    text = (tmp_path / "new/report.md").read_text()
    assert text == page(report) and "Only a part" not in text
    for said in ("98.0% (96.4% to 98.9%), 490 of 500", "98.5% of 500", "mujoco 3.3.0 (published figures: 2.3.7)"):
        assert said in text
    assert "- numpy 2\n" in text and "seeds: 1000000 and the following, 50 of each task" in text


def test_part_of_a_reproduction_says_so() -> None:
    entry = REPRODUCTIONS["metaworld-5"]
    counts = [TaskCount(task=entry.worlds[0], successes=1, episodes=2), TaskCount(task="x", successes=0, episodes=0)]
    report = build_report(entry, counts, planned=2, ran=RAN)
    assert not report["is_whole"] and len(report["tasks"]) == 1
    assert "**Only a part:** 1 of 5 tasks, 2 episodes planned of each where the published figure has 50" in page(report)


def test_rates_and_entries_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"published rate; got: 98.5; allowed: 0 to 1"):
        PublishedRate(rate=98.5, source="")
    usual = {"name": "x", "summary": "", "checkpoint": "tiny", "robot": "aloha", "num_tasks": 1, "num_episodes": 1}
    with pytest.raises(ConfigurationError, match="reproduction 'x'; got: neither"):
        Reproduction(**usual)
    with pytest.raises(ConfigurationError, match="reproduction 'x'; got: both"):
        Reproduction(**usual, worlds=("aloha/lift_cube",), dialect="lingbot")
