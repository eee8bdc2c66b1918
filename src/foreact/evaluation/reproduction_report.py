"""What a reproduction found: success rates with intervals next to the published ones, as JSON and as Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foreact.evaluation.reproductions import PublishedRate, Reproduction
from foreact.evaluation.statistics import difference_interval, wilson_interval
from foreact.files import write_whole

REPORT_FILE, PAGE_FILE = "report.json", "report.md"


@dataclass(frozen=True, kw_only=True)
class TaskCount:
    """How many episodes of one task succeeded."""

    task: str
    """Name of the task."""
    successes: int
    """Episodes that succeeded."""
    episodes: int
    """Episodes that were run."""


def compare(successes: int, episodes: int, published: PublishedRate | None) -> dict[str, Any]:
    """Return a measured success rate with its 95 % interval, and how it compares with a published one.

    Where the published number of episodes is known, the verdict is that of the interval of the difference; where not,
    it is whether the published rate lies in the interval of the measured one.

    Returns:
        `successes`, `episodes`, `rate`, `low`, `high` (Wilson); and, next to a published rate, `published`,
        `published_episodes`, `difference` with `difference_low` and `difference_high` (Newcombe; None where the
        published number of episodes is not known), and `verdict`: "no difference found", "lower" or "higher".
    """
    low, high = wilson_interval(successes, episodes)
    row = {"successes": successes, "episodes": episodes, "rate": successes / episodes, "low": low, "high": high}
    if published is None:
        return row
    if published.num_episodes is None:
        bounds = None, None
        below, above = high < published.rate, low > published.rate
    else:
        bounds = difference_interval(successes, episodes, published.successes, published.num_episodes)
        below, above = bounds[1] < 0, bounds[0] > 0
    return row | {
        "published": published.rate,
        "published_episodes": published.num_episodes,
        "source": published.source,
        "difference": row["rate"] - published.rate,
        "difference_low": bounds[0],
        "difference_high": bounds[1],
        "verdict": "lower" if below else "higher" if above else "no difference found",
    }


def build_report(
    entry: Reproduction, counts: Sequence[TaskCount], *, planned: int, ran: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the report as plain data.

    Args:
        entry: What was reproduced.
        counts: One of each task; those without episodes are left out.
        planned: Episodes of each task that were asked for.
        ran: What it was run with: `policy`, `digest`, `inference`, `protocol`, `versions`.
    """
    counts = [count for count in counts if count.episodes]
    total, successes = sum(count.episodes for count in counts), sum(count.successes for count in counts)
    is_whole = len(counts) >= entry.num_tasks and all(count.episodes >= entry.num_episodes for count in counts)
    return {
        "reproduction": entry.name,
        "summary": entry.summary,
        "checkpoint": entry.checkpoint,
        "robot": entry.robot,
        "first_seed": None if entry.dialect else entry.seed,
        "episodes_a_task": planned,
        "published_episodes_a_task": entry.num_episodes,
        "num_tasks": entry.num_tasks,
        "is_whole": is_whole,
        **ran,
        "tasks": [
            {"task": count.task, **compare(count.successes, count.episodes, entry.by_task.get(count.task))}
            for count in counts
        ],
        "overall": compare(successes, total, entry.overall) if total else None,
    }


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write `report.json` and `report.md` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / REPORT_FILE, (json.dumps(report, indent=1) + "\n").encode())
    write_whole(folder / PAGE_FILE, page(report).encode())


def page(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [f"# Reproduction: {report['reproduction']}", "", report["summary"], ""]
    if not report["is_whole"]:
        lines += [_note_of_part(report), ""]
    lines += [
        "| task | measured here, 95 % interval | published | difference, 95 % interval | |",
        "|---|---|---|---|---|",
    ]
    lines += [_table_row(f"`{row['task']}`", row) for row in report["tasks"]]
    if report["overall"]:
        lines.append(_table_row("**all**", report["overall"]))
    sources = dict.fromkeys(
        row["source"] for row in (*report["tasks"], report["overall"] or {}) if row.get("source") is not None
    )
    lines += ["", *(f"Published figures: {source}." for source in sources), "", "## Run with", ""]
    lines += [
        f"- policy: `{report['policy']}`, weights {report['digest'][:12]}; the figure is of `{report['checkpoint']}`"
    ]
    lines += [f"- robot: `{report['robot']}`", f"- protocol: {_protocol_name(report['protocol'])}"]
    if report["first_seed"] is not None:
        lines.append(f"- seeds: {report['first_seed']} and the following, {report['episodes_a_task']} of each task")
    reference = report["protocol"].get("reference_versions", {})
    lines += [
        f"- {name} {version}" + _mark_version(reference.get(name), version)
        for name, version in report["versions"].items()
    ]
    inference = ", ".join(f"{name} {value}" for name, value in report["inference"].items())
    return "\n".join([*lines, f"- chunks: {inference}", ""])


def _note_of_part(report: Mapping[str, Any]) -> str:
    return (
        f"**Only a part:** {len(report['tasks'])} of {report['num_tasks']} tasks, {report['episodes_a_task']} "
        f"episodes planned of each where the published figure has {report['published_episodes_a_task']}. Intervals are "
        "wide, and finding no difference means little."
    )


def _table_row(name: str, row: Mapping[str, Any]) -> str:
    measured = f"{row['rate']:.1%} ({row['low']:.1%} to {row['high']:.1%}), {row['successes']} of {row['episodes']}"
    if "published" not in row:
        return f"| {name} | {measured} | | | |"
    episodes = row["published_episodes"]
    published = f"{row['published']:.1%}" + (f" of {episodes}" if episodes else "")
    difference = f"{row['difference']:+.1%}"
    if row["difference_low"] is not None:
        difference += f" ({row['difference_low']:+.1%} to {row['difference_high']:+.1%})"
    return f"| {name} | {measured} | {published} | {difference} | {row['verdict']} |"


def _protocol_name(protocol: Mapping[str, Any]) -> str:
    return f"{protocol['name']} ({protocol['source']})" if "source" in protocol else protocol["name"]


def _mark_version(reference: str | None, version: str) -> str:
    return f" (published figures: {reference})" if reference not in (None, version) else ""
