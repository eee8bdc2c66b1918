"""The documents as a site: commands that the parser takes, links that lead somewhere, a build without a warning."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from foreact.commands.main import load_command
from foreact.commands.parsing import parse

ROOT = Path(__file__).parents[1]
PAGES = ("index", "ten_minutes", "cheat_sheet", "play", "how_it_works", "surprises", "schedules", "recipes")
COMMAND = re.compile(r"^(?:\| .* \| `| {4})(foreact [a-z].*?)(?:` \|)?$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]+)")
SHELL = re.compile(r"\s+#.*|\s+>.*|\\$")
"""What a shell would take away: a comment, a redirection."""


def commands() -> list:
    found = []
    for page in PAGES:
        for line in COMMAND.findall((ROOT / "docs" / f"{page}.md").read_text()):
            found.append(pytest.param(SHELL.sub("", line), id=f"{page}: {line[:60]}"))
    return found


def documents() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).exists()]


def test_there_are_commands_to_parse() -> None:
    assert len(commands()) > 25


@pytest.mark.parametrize("line", commands())
def test_a_command_is_taken_by_the_parser(line: str) -> None:
    _, name, *words = shlex.split(line)
    if name == "play":
        pytest.importorskip("viser")
    module = load_command(name)
    assert isinstance(parse(name, module, words), module.Settings)


def test_every_link_between_documents_leads_to_a_file() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {address}"
        for page in documents()
        for address in LINK.findall(re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.DOTALL))
        if not (page.parent / address).exists()
    ]
    assert broken == []


def test_the_gallery_says_what_its_films_show() -> None:
    page, folder = (ROOT / "docs" / "gallery.md").read_text(), ROOT / "docs" / "gallery"
    films = sorted(path.stem for path in folder.glob("*.mp4"))
    assert films == sorted(re.findall(r'src="gallery/(\w+).mp4"', page)) and len(films) >= 4
    for section in page.split("\n## ")[1:-1]:
        (film,) = re.findall(r'src="gallery/(\w+).mp4"', section)
        about = json.loads((folder / f"{film}.json").read_text())
        counted = f"{sum(about['succeeded'].values())} of {len(about['succeeded'])}"
        assert section.splitlines()[0].endswith(f"`{about['policy']}`, {counted}"), film
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size < 3_000_000, "films that are committed stay small"


def test_the_site_is_built_without_a_warning(tmp_path) -> None:
    pytest.importorskip("material", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    home = (tmp_path / "site" / "index.html").read_text()
    assert "Imagine, then act" in home
    assert re.findall(r'(?:src|href)="https?://(?:fonts|cdn)[^"]*"', home) == [], "it works without the network"
    assert "predict_together" in (tmp_path / "site" / "api.html").read_text()
