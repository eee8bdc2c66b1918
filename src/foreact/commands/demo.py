"""`foreact demo`: episodes in real time, the first one twice: the robot waits for every chunk, then moves meanwhile."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from foreact.commands.demo_files import draw_all, write_figures
from foreact.commands.demo_report import Shown, introduce, print_report
from foreact.commands.disturbing import DisturbanceOptions, Disturbing
from foreact.commands.loading import load_policy
from foreact.commands.options import DenoisingOptions, MachineOptions, PolicyName, named
from foreact.commands.progress import bold, console, progress_bar
from foreact.control.config import ControlConfig
from foreact.errors import ConfigurationError
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.live_view import LiveView, open_view
from foreact.evaluation.realtime import RealtimeFigures, realtime_config, rehearse, run_in_real_time
from foreact.evaluation.suite import FIRST_HELD_OUT_SEED
from foreact.folders import only_writer
from foreact.policy.controllers import ControlMode, check_mode
from foreact.policy.policy import Policy
from foreact.policy.schedules import SCHEDULES
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.tasks import TASKS, get_task

PATIENCE = 2
"""Multiples of the task's time limit that an episode may take: a robot that stands still needs more time."""
FIGURES_FILE = "realtime.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Show a policy at work in real time, in simulation.

    What it imagined is shown next to what happened, and whether the robot had to wait. The first episode is run twice:
    the robot stands still while it thinks, then it moves meanwhile.

    Example: foreact demo --task lift_cube --episodes 3 --view outputs/demo/demo.rrd
    """

    policy: PolicyName = "tiny"
    """Name of a shipped policy, or a folder."""
    task: Annotated[str, named(TASKS)] = "transfer_cube"
    """What the robot is to do."""
    episodes: int = 3
    """Number of episodes."""
    seed: int = FIRST_HELD_OUT_SEED
    """Of the first."""
    out: Path = Path("outputs/demo")
    """Gets the videos and figures, and realtime.json."""
    view: str | None = None
    """See it in Rerun, too (extra `view`). live: in a viewer, now. A file ending in .rrd: a recording,
    to open with `rerun FILE`. rerun+http://HOST:9876/proxy: in a viewer that runs elsewhere."""
    schedule: Annotated[str | None, named(SCHEDULES)] = None
    """Numbers of denoising steps by name; the policy's own by default."""
    controller: ControlMode | None = None
    """What the robot does while a chunk is computed, as in `foreact evaluate`; grounded by default, or synchronous if
    the policy was not trained for it."""
    threads: int | None = None
    """CPU threads of the policy; by default all but one, which is left to the control loop."""
    disturbing: Disturbing = DisturbanceOptions()


def run(settings: Settings) -> None:
    """Run the episodes, then say, write and draw what became of them."""
    if settings.episodes < 1:
        raise ConfigurationError("episodes", got=settings.episodes, allowed="1 or more")
    task, out, view = settings.task, settings.out, settings.view
    disturbance = settings.disturbing.disturbance_of_episodes()
    limit = round(disturbance.extra_time * get_task(task).max_steps)
    threads = spare_cores() if settings.threads is None else settings.threads
    policy = load_policy(settings.policy, DenoisingOptions(schedule=settings.schedule), MachineOptions(threads=threads))
    mode = settings.controller or best_mode(policy)
    check_mode(policy, mode)
    with ExitStack() as opened:
        opened.enter_context(only_writer(out))
        introduce(policy, task, mode)
        viewer = opened.enter_context(open_view(view, policy)) if view else None
        env = BimanualEnv(task, cameras=policy.embodiment.cameras, max_steps=PATIENCE * limit, disturbance=disturbance)
        opened.callback(env.close)
        shown = _run_all(policy, env, task, _plan(mode, settings.seed, settings.episodes), viewer)
        print_report(shown)
        write_figures(out / FIGURES_FILE, shown)
        written = draw_all(policy, task, shown, out)
    console.print(f"Everything is in {bold(out)}. Look first at:")
    for path in [*written, *([view] if view and view.endswith(".rrd") else [])]:
        console.print(f"  {bold(path)}")


def best_mode(policy: Policy) -> ControlMode:
    """Return the controller that the demo shows: acting while it thinks, if the policy was trained for that."""
    return "grounded" if policy.config.trained.forward_dynamics else "synchronous"


def spare_cores() -> int:
    """Return the threads for the policy: the control loop has a core of its own."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def _plan(mode: ControlMode, seed: int, episodes: int) -> list[tuple[ControlMode, int]]:
    """Return (controller, seed) of all runs: the first episode once more, waiting for every chunk."""
    twin: list[tuple[ControlMode, int]] = [] if mode == "synchronous" else [("synchronous", seed)]
    return twin + [(mode, seed + number) for number in range(episodes)]


def _run_all(
    policy: Policy, env: BimanualEnv, task: str, runs: list[tuple[ControlMode, int]], viewer: LiveView | None
) -> list[Shown]:
    shown, configs = [], {}
    env.reset(seed=runs[0][1])
    with progress_bar() as bar:
        done = bar.add_task("rehearsing, so that nothing is slow for the first time", total=len(runs), figures="")
        for mode in dict(runs):
            configs[mode] = realtime_config(policy, rehearse(policy, env, mode))
        for mode, seed in runs:
            bar.update(done, description=f"seed {seed}, {mode}, in real time")
            title = f"{task}, seed {seed}, {mode}"
            shown.append(_run(policy, env, mode, seed, configs[mode], viewer, title))
            bar.update(done, advance=1, figures=shown[-1].outcome)
    return shown


def _run(
    policy: Policy,
    env: BimanualEnv,
    mode: ControlMode,
    seed: int,
    config: ControlConfig,
    viewer: LiveView | None,
    title: str,
) -> Shown:
    with ExitStack() as watched:

        def watch(record: EpisodeRecord) -> None:
            if viewer is not None:
                watched.enter_context(viewer.watch(record, title))

        result, record, report = run_in_real_time(policy, env, seed, mode=mode, config=config, on_start=watch)
    return Shown(mode=mode, result=result, record=record, figures=RealtimeFigures.of(result, report, config))
