"""The choice that is asked for: a turn to an outer bin that nothing has given away."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

CHUNKS = [slice(1, 5), slice(5, 9), slice(9, 13)]


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(name, Path(__file__).parents[2] / "experiments/memory" / f"{name}.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def memory() -> ModuleType:
    return load("run")


def waist(*angles: tuple[int, float]) -> np.ndarray:
    """An arm that points to the middle, and from each latent frame on elsewhere."""
    there = np.zeros(14)
    for frame, angle in angles:
        there[frame:] = angle
    return there


@pytest.mark.parametrize("side", [-1, 1])
def test_the_turn_is_found_after_the_reach_for_the_cube(memory, side: int) -> None:
    assert memory.find_choice(waist((2, -0.8), (4, 0.0), (7, side * 0.37)), CHUNKS) == CHUNKS[1]


def test_what_is_no_choice_is_not_asked(memory) -> None:
    assert memory.find_choice(waist(), CHUNKS) is None, "the middle bin"
    assert memory.find_choice(waist((4, 0.05), (6, 0.37)), CHUNKS) is None, "it had begun to turn"
    assert memory.find_choice(waist((3, -0.8), (7, 0.37)), CHUNKS) is None, "it was elsewhere"
    assert memory.find_choice(waist((13, 0.37)), CHUNKS) is None, "after the last whole chunk"


def test_what_is_shown_is_read_and_noise_is_not() -> None:
    """Of noise, which ridge regression learns by heart, an episode that was left out is read by chance."""
    lamp = load("lamp")
    rng = np.random.default_rng(0)
    bins = rng.integers(-1, 2, size=60)
    noise = rng.normal(size=(60, 200))
    shown = noise.copy()
    shown[:, 7] += 30 * bins
    shown[:, 8] += 30 * (bins == 0)
    assert (lamp.read_out(shown, bins, 0.01) == bins).all()
    assert (lamp.read_out(noise, bins, 0.01) == bins).mean() < 0.6
