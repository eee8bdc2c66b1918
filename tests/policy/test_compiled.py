"""A compiled policy predicts what a plain one does, and compiles nothing once it is warm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "compiled_rollouts.py"


def run(backend: str, device: str) -> dict:
    done = subprocess.run([sys.executable, SCRIPT, backend, device], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def assert_equal_and_warm(found: dict, tolerance: float) -> None:
    assert found["difference"] <= tolerance < found["largest"]
    assert found["graphs_after_warm_up"] == 0, "warming up leaves no shape out"
    # The last layer of a pass that only leaves keys and values computes nothing else: two graphs of its own.
    of_last = found["graphs"] - found["graphs_of_one_layer"]
    assert found["graphs_of_one_layer"] > 0 and of_last == 2, "all other layers share what is compiled"


def test_regions_are_captured_whole_and_shared_by_all_layers() -> None:
    """Without the code generator, which takes a minute."""
    assert_equal_and_warm(run("eager", "cpu"), 1e-5)


@pytest.mark.slow
@pytest.mark.compile
def test_compiled_equals_plain() -> None:
    assert_equal_and_warm(run("inductor", "cpu"), 1e-5)


@pytest.mark.gpu
@pytest.mark.compile
def test_cuda_graphs_equal_plain() -> None:
    """Tolerance: float32 matrix products in other orders, and CUDA's own exponentials."""
    assert_equal_and_warm(run("inductor", "cuda"), 1e-3)
