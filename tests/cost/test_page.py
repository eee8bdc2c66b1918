"""The page for users tells what the command tells."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from foreact.commands.describe import Settings, run
from foreact.cost import describe as module
from foreact.cost.describe import Description
from foreact.cost.subject import subject_of_recipe
from foreact.recipes import get_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "full_size.md").read_text()
OPTIONS = {
    "`foreact describe wan5b`": {},
    "`foreact describe wan5b --window 30`": {"window": 30},
    "`foreact describe wan5b --video-guidance 1`": {"video_guidance": 1.0},
    "`foreact describe wan5b --video-guidance 1 --window 30`": {"video_guidance": 1.0, "window": 30},
}
UNGUIDED = {"video_guidance": 1.0}
SCHEDULES = {
    "as published: `foreact describe PRESET`": {},
    "without guidance: `--video-guidance 1`": UNGUIDED,
    "10 and 10 steps: `--video-guidance 1 --video-steps 10 --action-steps 10`": (
        UNGUIDED | {"video_steps": 10, "action_steps": 10}
    ),
    "3 and 10 steps: `--video-guidance 1 --video-steps 3 --s-stop 0.6 --action-steps 10`": (
        UNGUIDED | {"video_steps": 3, "s_stop": 0.6, "action_steps": 10}
    ),
    "2 and 4 steps: `--video-guidance 1 --video-steps 2 --action-steps 4`": (
        UNGUIDED | {"video_steps": 2, "action_steps": 4}
    ),
}


@pytest.mark.parametrize("preset", ["small", "wan5b", "wan5b-shared"])
def test_tables_of_the_page_are_the_commands(capsys, monkeypatch, preset):
    monkeypatch.setenv("COLUMNS", "80")
    run(Settings(preset=preset))
    printed = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    page = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
    assert not [line for line in printed if line not in page], f"write the page anew: foreact describe {preset}"


@pytest.fixture(scope="module")
def made() -> dict[str, Description]:
    return {name: module.describe(subject_of_recipe(name, get_recipe(name))) for name in ("wan5b", "wan5b-shared")}


@pytest.fixture
def quick(monkeypatch, made) -> Callable[[str, dict], Description]:
    """Describe a preset under other settings; what these do not change is worked out once."""

    def run(name: str, changes: dict) -> Description:
        monkeypatch.setattr(module, "describe_video_vae", lambda *_: made[name].video_vae)
        monkeypatch.setattr(module, "count_network", lambda _: made[name].network)
        subject = subject_of_recipe(name, get_recipe(name))
        return module.describe(replace(subject, inference=replace(subject.inference, **changes)))

    return run


def row(label: str) -> list[str]:
    """The cells of the page's table row that begins with this label."""
    found = re.search(rf"^\| {re.escape(label)} \|(.*)\|$", PAGE, re.MULTILINE)
    assert found, label
    return [cell.strip() for cell in found.group(1).split("|")]


def test_options_need_what_the_page_says(quick):
    for label, changes in OPTIONS.items():
        _, bfloat16, int8, fp8 = quick("wan5b", changes).run
        assert int8.total_text_released == fp8.total_text_released
        needed = (bfloat16.total, bfloat16.total_text_released, int8.total_text_released)
        assert row(label) == [f"{number / 1e9:.1f}" for number in needed]


def test_chunks_take_what_the_page_says(quick):
    for label, changes in SCHEDULES.items():
        floors = [quick(name, changes).chunks[-1].total.floor_ms for name in ("wan5b", "wan5b-shared")]
        assert row(label) == [f"{floor:.0f} ms" for floor in floors]
