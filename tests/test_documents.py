"""Python in the documents runs as it is printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/python.md", "docs/ten_minutes.md")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEEDS_THE_HUB = "robbyant/"
"""Blocks that fetch published weights, tens of gigabytes, are compiled and not run."""


def blocks() -> list:
    found = []
    for page in PAGES:
        for number, code in enumerate(BLOCK.findall((ROOT / page).read_text())):
            marks = [pytest.mark.sim] if "foreact.evaluate" in code else []
            found.append(pytest.param(code, id=f"{page}-{number}", marks=marks))
    return found


def test_there_are_blocks_to_run() -> None:
    assert len(blocks()) >= 4


@pytest.mark.parametrize("code", blocks())
def test_a_block_runs_as_printed(code: str, tmp_path: Path) -> None:
    compile(code, "block", "exec")
    if NEEDS_THE_HUB in code:
        return
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_the_notebook_runs() -> None:
    cells = json.loads((ROOT / "examples" / "imagine.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    settings = os.environ | {"MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(cell.get("outputs") for cell in cells), "outputs are not committed"
