"""The parts of `scripts/gpu_check.sh`: each is a command with a time limit, and what it wrote is kept in one JSON."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULT = "gpu_check.json"
KEPT_CHARACTERS = 4000
"""Of what a part printed."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing to measure."""

    name: str
    """Names its file of figures."""
    limit_s: int
    """It is stopped after so many seconds, and counts as failed."""
    command: tuple[str, ...]
    """Words after the interpreter; {json} is where figures go, {out} a folder of its own."""
    dry: tuple[str, ...]
    """The same on a CPU in seconds."""


def parts() -> list[Part]:
    """Return all parts, the most important first."""
    found = [
        Part(
            name="tests",
            limit_s=120,
            command=("-m", "pytest", "-q", "-m", "gpu", "tests/policy/test_compiled.py", "tests/transformer"),
            dry=("-m", "pytest", "-q", "--collect-only", "-m", "gpu", "tests/policy/test_compiled.py"),
        )
    ]
    for preset in ("wan5b", "wan5b-shared"):
        for schedule in ("turbo", "fast", "exact"):
            bench = ("-m", "foreact", "bench", "--schedule", schedule, "--out", "{out}", "--sessions", "1")
            full = ("--preset", preset, "--dtype", "bfloat16", "--device", "cuda", "--history", "1.0", "--repeats", "3")
            small = (
                "--preset",
                "tiny",
                "--layers",
                "1",
                "--window",
                "8",
                "--history",
                "0.5",
                "--repeats",
                "1",
                "--threads",
                "1",
            )
            name = f"bench-{preset}-{schedule}"
            found.append(Part(name=name, limit_s=60, command=(*bench, *full), dry=(*bench, *small)))
    step = ("benchmarks/gpu_training.py", "--json", "{json}")
    for name, recipe in (("lora", "wan5b-lora-48gb"), ("action", "wan5b-lora-48gb"), ("lora-24gb", "wan5b-lora-24gb")):
        words = (*step, "--recipe", recipe, "--method", name.partition("-")[0], "--sequences", "4", "--steps", "2")
        length = () if name == "lora-24gb" else ("--frames", "37")  # 9,928 tokens
        full, small = ("--device", "cuda", *length), ("--miniature", "--steps", "1")
        dry = (*step, "--recipe", recipe, "--method", name.partition("-")[0], *small)
        found.append(Part(name=f"step-{name}", limit_s=90, command=(*words, *full), dry=dry))
    found.append(
        Part(
            name="train-small",
            limit_s=180,
            command=(*step, "--recipe", "small", "--seconds", "120", "--device", "cuda"),
            dry=(*step, "--recipe", "small", "--miniature", "--steps", "1"),
        )
    )
    compiled = ("benchmarks/compiled.py", "--json", "{json}", "--schedule", "turbo")
    full = ("--preset", "wan5b", "--device", "cuda", "--chunks", "5")
    # Without a GPU only its words are checked: compiling for a CPU takes minutes.
    found.append(Part(name="compiled", limit_s=150, command=(*compiled, *full), dry=(*compiled, *full, "--help")))
    return found


def run_part(part: Part, out: Path, *, dry: bool) -> dict[str, object]:
    """Run one part, and return how it ended and its figures, if it wrote any."""
    folder, figures = out / part.name, out / f"{part.name}.figures.json"
    shutil.rmtree(folder, ignore_errors=True)
    figures.unlink(missing_ok=True)
    words = [word.format(json=figures, out=folder) for word in (part.dry if dry else part.command)]
    began = time.monotonic()
    # A session of its own, so that what the part starts is stopped with it.
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=part.limit_s)
        status: int | str = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        status = f"stopped after {part.limit_s} s"
    written = [path for path in (figures, folder / "bench.json") if path.exists()]
    return {
        "status": status,
        "wall_s": round(time.monotonic() - began, 1),
        "command": words,
        "figures": json.loads(written[0].read_text()) if written else None,
        "said": said[-KEPT_CHARACTERS:],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are missing; return 0 if all parts that were asked for have ended well."""
    every = parts()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "gpu_check")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in every])
    given = parser.parse_args(arguments)
    out: Path = given.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    path, how = out / RESULT, "dry" if given.dry_run else "measured"
    kept = json.loads(path.read_text()) if path.exists() else {}
    results = kept.get("parts", {}) if kept.get("how") == how else {}
    chosen = [part for part in every if given.only is None or part.name in given.only]
    for part in chosen:
        if results.get(part.name, {}).get("status") == 0:
            continue
        results[part.name] = run_part(part, out, dry=given.dry_run)
        # After every part: whatever comes next may be cut off.
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"how": how, "parts": results}, indent=1) + "\n")
        temporary.replace(path)
        print(f"{part.name}: {results[part.name]['status']}, {results[part.name]['wall_s']} s", flush=True)
    return 0 if all(results[part.name]["status"] == 0 for part in chosen) else 1


if __name__ == "__main__":
    raise SystemExit(main())
