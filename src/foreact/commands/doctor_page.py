"""The doctor's page: one HTML file with everything in it."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from foreact.data.camera_checks import CameraStrip
from foreact.data.examination import Examination
from foreact.files import write_whole

STRIP_HEIGHT = 96
"""Height of a picture on the page, pixels."""
PER_LINE = 6
STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; color: #222; }
table { border-collapse: collapse; } td, th { padding: .2em .8em .2em 0; vertical-align: top; text-align: left; }
.error { color: #b00020; } .warning { color: #9a6700; } .note { color: #0969da; }
img { display: block; margin: .3em 0; }
"""


def write_page(path: Path, examined: Examination, notes: Sequence[str], errors: Sequence[dict[str, Any]]) -> None:
    """Write the page.

    Args:
        path: The file.
        examined: What was found.
        notes: What is to be checked about the proposed robot.
        errors: Of a policy, joint by joint; may be empty.
    """
    title = f"Doctor: {examined.facts['dataset']}"
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{_text(title)}</title><style>{STYLE}</style>",
        f"<h1>{_text(title)}</h1>",
        _table((_text(name), _text(value)) for name, value in examined.facts.items()),
        "<h2>Findings</h2>",
        _table((f'<span class="{f.severity}">{f.severity}</span>', _text(str(f.error()))) for f in examined.findings)
        or "<p>Nothing is wrong.</p>",
    ]
    if notes:
        parts += ["<h2>To check</h2>", "<ul>", *(f"<li>{_text(note)}</li>" for note in notes), "</ul>"]
    if errors:
        parts += [
            "<h2>Mean error of the policy's actions, from the real history</h2>",
            _table(
                [
                    ("joint", "unit", "policy", "repeating the last action"),
                    *(
                        (_text(e["joint"]), _text(e["unit"]), f"{e['policy']:.4g}", f"{e['last_action']:.4g}")
                        for e in errors
                    ),
                ]
            ),
        ]
    for key, strip in examined.strips.items():
        parts += [f"<h2>{_text(key)}</h2>", *_lines(strip)]
    write_whole(path, "\n".join(parts).encode())


def _lines(strip: CameraStrip) -> Iterable[str]:
    """Yield the pictures of each episode, side by side."""
    numbers = np.array(strip.episodes)
    for number in dict.fromkeys(strip.episodes):
        own = [_small(picture) for picture in strip.pictures[numbers == number][:PER_LINE]]
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(own, axis=1)).save(buffer, "JPEG", quality=85)
        data = base64.b64encode(buffer.getvalue()).decode()
        yield f'<img alt="episode {number}" title="episode {number}" src="data:image/jpeg;base64,{data}">'


def _small(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((max(1, round(width * STRIP_HEIGHT / height)), STRIP_HEIGHT)))


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "".join(lines) + "</table>" if lines else ""


def _text(value: object) -> str:
    return html.escape(str(value))
