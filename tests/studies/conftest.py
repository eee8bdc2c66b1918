import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from foreact.studies.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def log(tmp_path) -> Path:
    """A line for each unit of toy work that was ever done."""
    return tmp_path / "log.txt"


@pytest.fixture
def counting(log, monkeypatch) -> Callable:
    """Makes toy work; its module can be imported by workers, who are told this process's path."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    from toy_work import Counting

    yield lambda name, **settings: Counting(name=name, log=str(log), **settings)
    sys.modules.pop("toy_work")


@pytest.fixture
def toy_env(monkeypatch) -> list[int]:
    """Evaluations run in the toy world of the evaluation's own tests; the seeds of its episodes are listed here."""
    path = Path(__file__).parents[1] / "evaluation" / "conftest.py"
    spec = spec_from_file_location("toy_world", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    seeds: list[int] = []

    class Listed(module.ToyEnv):
        def reset(self, *, seed=None, options=None):
            seeds.append(seed)
            return super().reset(seed=seed, options=options)

    monkeypatch.setattr("foreact.environments.aloha.BimanualEnv", Listed)
    return seeds
