"""Experiments are programs in folders of their own; here their modules are found as when they are run."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "experiments/others_policies"
NAMES = tuple(path.stem for path in FOLDER.glob("*.py"))


class Modules(dict[str, ModuleType]):
    """The experiment's modules by name, imported when they are asked for: some of them want LeRobot."""

    def __missing__(self, name: str) -> ModuleType:
        self[name] = import_module(name)
        return self[name]


@pytest.fixture(scope="module")
def modules() -> Iterator[Modules]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield Modules()
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def toy_env() -> Callable:
    """Makes a world without physics for the tiny robot; episodes of even seeds succeed at step 13."""
    spec = spec_from_file_location("toy_world", Path(__file__).parents[1] / "evaluation/conftest.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda: module.ToyEnv("reach_cube")
