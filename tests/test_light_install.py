"""What works where only foreact's own dependencies are installed, none of its extras."""

import subprocess
import sys
from importlib.metadata import requires

import pytest

from foreact.errors import install_command

LIGHT = ("foreact", "msgpack", "numpy", "websockets")
PREPARED = f"""
import importlib, importlib.abc, pkgutil, sys

class OnlyLight(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in {LIGHT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, OnlyLight())
"""


COMMAND = "from foreact.__main__ import main\nsys.argv = {}\nmain()"


def run_light(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", PREPARED + code], capture_output=True, text=True, check=False)


def test_these_are_all_that_is_asked_for() -> None:
    asked = [line for line in requires("foreact") or [] if "extra" not in line]
    names = {line.partition(">")[0] for line in asked}
    assert names == set(LIGHT) - {"foreact"}


def test_all_of_the_robots_side_works() -> None:
    done = run_light(
        "import foreact.control\n"
        "names = [m.name for m in pkgutil.iter_modules(foreact.control.__path__, 'foreact.control.')]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names))\n"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10


@pytest.mark.parametrize(
    "code, thing, status",
    [
        ("import foreact\nforeact.load('tiny')", "policies", 1),
        (COMMAND.format(["foreact", "demo"]), "the foreact command", 2),
    ],
)
def test_the_rest_says_what_to_install(code: str, thing: str, status: int) -> None:
    done = run_light(code)
    assert done.returncode == status
    stored = done.stderr.strip().splitlines()[-1]
    assert thing in stored and "is not installed" in stored and install_command("policy") in stored


@pytest.mark.parametrize(("words", "said"), [(["foreact"], "usage: foreact"), (["foreact", "--version"], "foreact 0.")])
def test_the_command_introduces_itself(words: list[str], said: str) -> None:
    done = run_light(COMMAND.format(words))
    assert done.returncode == 0 and said in done.stdout, done.stderr


def test_an_unknown_attribute_is_still_none() -> None:
    assert run_light("import foreact\nassert not hasattr(foreact, 'lod')").returncode == 0
