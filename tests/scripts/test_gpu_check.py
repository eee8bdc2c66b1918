"""`scripts/gpu_check.sh` on a CPU: parts run, none is repeated, and one that hangs is stopped."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICK = ("step-lora", "step-action")


def load():
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "scripts" / "gpu_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = module
    spec.loader.exec_module(module)
    return module


gpu_check = load()


def test_training_steps_run_dry_and_are_not_repeated(tmp_path, capsys) -> None:
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path), "--only", *QUICK]) == 0
    stored = json.loads((tmp_path / gpu_check.RESULT).read_text())
    assert stored["how"] == "dry" and set(stored["parts"]) == set(QUICK)
    for part in stored["parts"].values():
        figures = part["figures"]
        assert figures["tokens_per_s"] > 0 and figures["device"] == "cpu" and figures["computed_bytes"] > 0
    capsys.readouterr()
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path), "--only", *QUICK]) == 0
    assert capsys.readouterr().out == "", "both were done"


@pytest.mark.slow
def test_every_kind_of_part_runs_dry_by_the_script(tmp_path) -> None:
    only = ["tests", "bench-wan5b-turbo", "bench-wan5b-shared-exact", "step-lora-24gb", "train-small", "compiled"]
    words = [ROOT / "scripts" / "gpu_check.sh", "--dry-run", "--out", tmp_path, "--only", *only]
    settings = {"PYTHON": sys.executable, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=settings, capture_output=True, text=True, check=False)
    stored = json.loads((tmp_path / gpu_check.RESULT).read_text())["parts"]
    failed = {name: part["said"][-500:] for name, part in stored.items() if part["status"] != 0}
    assert done.returncode == 0, failed
    assert sorted(stored) == sorted(only)
    assert stored["bench-wan5b-turbo"]["figures"]


def test_a_part_that_hangs_is_stopped_and_one_that_fails_is_told(tmp_path, monkeypatch) -> None:
    hangs = gpu_check.Part(name="hangs", limit_s=1, command=("-c", "import time; time.sleep(60)"), dry=())
    fails = gpu_check.Part(name="fails", limit_s=30, command=("-c", "print('no card'); raise SystemExit(3)"), dry=())
    monkeypatch.setattr(gpu_check, "parts", lambda: [hangs, fails])
    assert gpu_check.main(["--out", str(tmp_path)]) == 1
    stored = json.loads((tmp_path / gpu_check.RESULT).read_text())["parts"]
    assert stored["hangs"]["status"] == "stopped after 1 s"
    assert stored["fails"]["status"] == 3 and "no card" in stored["fails"]["said"]


def test_all_parts_together_are_about_as_long_as_a_card_is_lent() -> None:
    """Limits are upper bounds; what a part should take is about half of it."""
    assert sum(part.limit_s for part in gpu_check.parts()) <= 2 * 12 * 60
