"""The cluster examples: files that parse, whose commands torchrun and foreact take."""

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser

from foreact.commands.parsing import parse
from foreact.commands.table import COMMANDS
from foreact.training.recipe import Recipe

FOLDER = Path(__file__).parents[2] / "examples" / "cluster"


def load_script():
    spec = importlib.util.spec_from_file_location("ray_torchrun", FOLDER / "ray_torchrun.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_shell(text: str) -> list[str]:
    """Return the words of the torchrun command in a shell script, with numbers for what the cluster fills in."""
    joined = text.replace("\\\n", " ")
    line = next(line for line in joined.splitlines() if re.search(r"\btorchrun ", line) and not line.startswith("#"))
    line = re.sub(r"\$\([^)]*\)", "host", line)
    return shlex.split(re.sub(r"\$\{?\w+\}?", "2", line.partition("torchrun ")[2]))


def in_ray_job() -> list[str]:
    entry = shlex.split(yaml.safe_load((FOLDER / "ray_job.yaml").read_text())["spec"]["entrypoint"])
    assert (FOLDER.parents[1] / entry[1].removeprefix("/app/")).is_file()
    foreact = entry[entry.index("--") + 1 :]
    words = load_script().torchrun_words(foreact, nodes=2, node=1, gpus=8, address="10.0.0.1")
    assert words[:3] == [sys.executable, "-m", "torch.distributed.run"]
    return words[3:]


COMMANDS_OF = {
    "SLURM": lambda: in_shell((FOLDER / "train.sbatch").read_text()),
    "SkyPilot": lambda: in_shell(yaml.safe_load((FOLDER / "sky.yaml").read_text())["run"]),
    "Ray": in_ray_job,
}


@pytest.mark.parametrize("cluster", COMMANDS_OF)
def test_torchrun_and_foreact_take_the_command(cluster: str) -> None:
    launched = get_args_parser().parse_args(COMMANDS_OF[cluster]())
    assert launched.module and launched.training_script == "foreact"
    name, *words = launched.training_script_args
    settings = parse(name, importlib.import_module(f"foreact.commands.{COMMANDS[name].module}"), words)
    recipe = settings.training
    assert isinstance(recipe, Recipe) and settings.initial is not None
    assert recipe.parallel.shard in (0, 8) and settings.machine.device == "cuda"


def test_the_batch_script_is_a_shell_script_that_saves_before_its_time_is_over() -> None:
    text = (FOLDER / "train.sbatch").read_text()
    subprocess.run(["bash", "-n", FOLDER / "train.sbatch"], check=True)
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(\S*)$", text, re.MULTILINE))
    assert options["signal"] == "TERM@300" and "requeue" in options
    assert options["ntasks-per-node"] == "1", "torchrun starts the processes of a machine"


def test_machines_of_the_ray_job_have_the_gpus_that_are_asked_for() -> None:
    spec = yaml.safe_load((FOLDER / "ray_job.yaml").read_text())["spec"]
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    words = shlex.split(spec["entrypoint"])
    assert words[words.index("--nodes") + 1] == str(workers["replicas"])
    assert words[words.index("--gpus") + 1] == limits["nvidia.com/gpu"]
    assert yaml.safe_load((FOLDER / "sky.yaml").read_text())["resources"]["accelerators"] == "H100:8"
