"""Train ACT or Diffusion Policy with LeRobot's own command, for as much processor time as is asked for.

    python experiments/others_policies/train.py act reach_cube --minutes 45

To be run by the Python of the environment that LeRobot is in; README.md says how it is made. What was saved is gone on
from when the command is repeated. Writes the command, the steps and the processor time to training.json.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from contestants import CONTESTANTS, HELD_OUT, LAYOUT, RUN, TASKS, last_saved, resuming_command, training_command

from foreact.files import write_whole

POLL_S = 5.0
PROBES = (5, 25)
"""Steps of two short trainings, whose difference tells what a step costs."""
RECORD = "training.json"


def main() -> None:
    given = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    from pictures import copy_demonstrations  # datasets reads the environment when it is imported

    demonstrations = given.out / "demonstrations" / f"{given.task}-{LAYOUT.width}x{LAYOUT.height}"
    demonstrations.parent.mkdir(parents=True, exist_ok=True)
    dataset = copy_demonstrations(given.data / given.task, demonstrations, LAYOUT)
    folder = given.out / f"{given.policy}-{given.task}"
    folder.mkdir(exist_ok=True)
    record = _read(folder) or _plan(given, demonstrations, dataset.num_episodes - HELD_OUT, folder)
    run = folder / RUN
    if (given.steps or record["steps"]) != record["steps"]:
        sys.exit(f"{folder} is a training of {record['steps']} steps; choose another --out")
    _check_alone(run)
    if steps_done(run) < record["steps"]:
        _train(record, run, folder)
    print(f"{folder}: {record['steps']} steps, {record['core_s'] / 60:.1f} minutes of a core")


def _plan(given: argparse.Namespace, demonstrations: Path, num_episodes: int, folder: Path) -> dict[str, Any]:
    """Return what is to be run, with so many steps as fit into the processor time; write it down."""
    program = Path(sys.executable).with_name("lerobot-train")

    def command(out: Path, num_steps: int, **settings: int) -> list[str]:
        details = (program, given.policy, demonstrations, num_episodes, out)
        return training_command(*details, num_steps=num_steps, seed=given.seed, **settings)

    step_s = None
    if given.steps is None:
        costs_s = [_run(command(folder / f"probe-{steps}", steps, num_saved=0)) for steps in PROBES]
        for steps in PROBES:
            shutil.rmtree(folder / f"probe-{steps}", ignore_errors=True)
        step_s = (costs_s[1] - costs_s[0]) / (PROBES[1] - PROBES[0])
        print(f"a step costs {step_s:.3f} s of a core")
    steps = given.steps or max(1, round(60 * given.minutes / step_s))
    record = {
        "policy": given.policy,
        "task": given.task,
        "episodes": num_episodes,
        "steps": steps,
        "probed_step_s": step_s,
        "core_s": 0.0,
        "command": command(folder / RUN, steps),
    }
    _write(folder, record)
    return record


def _train(record: dict[str, Any], run: Path, folder: Path) -> None:
    """Train to the end, from what is saved if anything is; `record` grows by the processor time, lost work's too."""
    program = Path(record["command"][0])
    if last_saved(run).exists():
        command = resuming_command(program, run)
    else:
        shutil.rmtree(run, ignore_errors=True)  # LeRobot begins in no folder that exists
        command = record["command"]
    before_s = record["core_s"]

    def keep(core_s: float) -> None:
        record["core_s"] = before_s + core_s
        _write(folder, record)
        _forget_all_but_last(run)

    _run(command, keep)


def _run(command: list[str], on_time=lambda core_s: None) -> float:
    """Run a command to its end; return its seconds of processor time, which `on_time` is told on the way."""
    print(" ".join(command), flush=True)
    core_s = 0.0
    with subprocess.Popen(command) as process:
        try:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                try:
                    core_s = sum(watched.cpu_times()[:4])  # its own and its children's, in user and system mode
                except (psutil.NoSuchProcess, psutil.ZombieProcess):
                    break
                on_time(core_s)
                time.sleep(POLL_S if core_s > POLL_S else 0.2)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        sys.exit(f"{command[0]} failed (exit status {process.returncode}); repeat the command to go on")
    on_time(core_s)
    return core_s


def _check_alone(run: Path) -> None:
    """Stop if a training in this folder goes on, as it does when this program was killed outright."""
    for process in psutil.process_iter(["cmdline"]):
        details = " ".join(process.info["cmdline"] or [])
        if "lerobot-train" in details and (f"--output_dir={run} " in f"{details} " or f"{run}/checkpoints" in details):
            sys.exit(f"{run} is being written by process {process.pid}; wait for it, or end it")


def steps_done(run: Path) -> int:
    """Return the steps of the training that was saved last."""
    state = last_saved(run).with_name("training_state") / "training_step.json"
    return json.loads(state.read_text())["step"] if state.exists() else 0


def _forget_all_but_last(run: Path) -> None:
    last = run / "checkpoints" / "last"
    if last.exists():
        kept = last.resolve().name
        for folder in last.parent.iterdir():
            if not folder.is_symlink() and folder.name < kept:
                shutil.rmtree(folder, ignore_errors=True)


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / RECORD
    return json.loads(path.read_text()) if path.exists() else None


def _write(folder: Path, record: dict[str, Any]) -> None:
    write_whole(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", choices=CONTESTANTS)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--minutes", type=float, default=45.0, help="of one core; decides the number of steps")
    parser.add_argument("--steps", type=int, help="instead of --minutes")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and noise")
    parser.add_argument("--data", type=Path, default=Path("data"), help="has a dataset of each task")
    parser.add_argument("--out", type=Path, default=Path("outputs/others"), help="gets a folder of each training")
    return parser.parse_args()


if __name__ == "__main__":
    main()
