"""`foreact reproduce`."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.markup import escape
from rich.table import Table

from foreact.commands.options import Machine, MachineOptions, named, shipped_policies
from foreact.commands.progress import bold, console, progress_bar
from foreact.errors import ConfigurationError
from foreact.evaluation.reproduce import TrialLedger, choose_worlds, load_for, run_worlds
from foreact.evaluation.reproduction_report import PAGE_FILE, write_report
from foreact.evaluation.reproductions import REPRODUCTIONS, Reproduction, get_reproduction
from foreact.policy.policy import Policy

_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure a published success rate again, and write it next to the published one.

    Policy, robot, tasks, protocol and seeds are laid down by the name. Without a name, lists what can be reproduced.
    Repeat the command after an interruption: finished episodes are kept.

    Example: foreact reproduce metaworld-5 --workers 2

    With published weights that were fetched before: foreact reproduce libero-long --policy weights/libero-long --device
    cuda

    Where the simulator is a client, the policy is served, and the command ends when the client has run all episodes:
    foreact reproduce robotwin --policy weights/robotwin --device cuda --port 19000
    """

    name: Annotated[str | None, named(REPRODUCTIONS), tyro.conf.Positional] = None
    """Which; none lists them."""
    policy: Annotated[str | None, named(shipped_policies(), "DIR", "OWNER/NAME")] = None
    """The policy, where it is not to be fetched by its own name: a folder of the same weights, for example."""
    out: Path | None = None
    """Gets report.json, report.md and the episodes; by default outputs/reproduce/NAME."""
    episodes: int | None = None
    """Episodes of each task; by default as many as the published figure has."""
    tasks: tuple[str, ...] = ()
    """Only these tasks; all by default."""
    workers: int = 1
    """Processes that share the episodes, one thread each."""
    together: int = 1
    """Episodes that run at once and share one network, as in `foreact evaluate`."""
    host: str = "127.0.0.1"
    """Where the policy is served: address to listen on."""
    port: int = 19000
    """Where the policy is served: port to listen on."""
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Run the episodes that are missing, and write the report."""
    if settings.name is None:
        return _list_all()
    entry = get_reproduction(settings.name)
    num_episodes = entry.num_episodes if settings.episodes is None else settings.episodes
    if num_episodes < 1:
        raise ConfigurationError("--episodes", got=num_episodes, allowed="1 or more")
    worlds = choose_worlds(entry, settings.tasks)
    name = settings.policy or entry.checkpoint
    policy = load_for(entry, name, device=settings.machine.use())
    folder = settings.out or Path("outputs/reproduce") / entry.name
    if entry.dialect is None:
        report = _run_here(entry, policy, folder, name, worlds, num_episodes, settings)
    else:
        report = _serve(entry, policy, folder, name, num_episodes, settings)
    console.print(_result_table(report))
    console.print(f"The report is {bold(folder / PAGE_FILE)}.")
    return None


def _list_all() -> None:
    table = Table("name", "what is measured", "policy", "published", box=None)
    for entry in REPRODUCTIONS.values():
        table.add_row(entry.name, entry.summary, entry.checkpoint, entry.overall and f"{entry.overall.rate:.1%}")
    console.print(table)


def _run_here(
    entry: Reproduction,
    policy: Policy,
    folder: Path,
    name: str,
    worlds: tuple[str, ...],
    num_episodes: int,
    settings: Settings,
) -> dict[str, Any]:
    with progress_bar() as bar:
        shown = {world: bar.add_task(world, total=num_episodes, figures="") for world in worlds}

        def count(world: str, done: int, successes: int) -> None:
            bar.update(shown[world], completed=done, figures=f"{successes} of {done} succeeded")

        return run_worlds(
            entry,
            policy,
            folder,
            policy_name=name,
            worlds=worlds,
            num_episodes=num_episodes,
            on_episode=count,
            workers=settings.workers,
            together=settings.together,
        )


def _serve(
    entry: Reproduction, policy: Policy, folder: Path, name: str, num_episodes: int, settings: Settings
) -> dict[str, Any]:
    """Serve the policy until clients have run all episodes; Ctrl-C ends it earlier, and what there is stays."""
    from foreact.serving.background import serving
    from foreact.serving.config import ServerConfig

    assert entry.dialect is not None
    ledger = TrialLedger(entry, policy, folder, policy_name=name, num_episodes=num_episodes)
    config = ServerConfig(host=settings.host, port=settings.port, name=name, dialect=entry.dialect)
    with serving(policy, config, on_trial=ledger.add) as server, progress_bar() as bar:
        console.print(f"Waiting for clients of {entry.dialect} at {escape(server.address)}. To run: {entry.protocol}.")
        shown = bar.add_task(entry.name, total=ledger.num_wanted, figures="")
        while ledger.num_trials < ledger.num_wanted:
            figures = f"{ledger.num_successes} of {ledger.num_trials} succeeded"
            bar.update(shown, completed=ledger.num_trials, figures=figures)
            time.sleep(_POLL_S)
    write_report(report := ledger.report(), folder)
    return report


def _result_table(report: dict[str, Any]) -> Table:
    table = Table("task", "measured", "95 % interval", "published", "", box=None)
    rows = [*report["tasks"], {"task": "all", **(report["overall"] or {})}]
    for row in rows:
        published = f"{row['published']:.1%}" if "published" in row else ""
        table.add_row(
            row["task"],
            f"{row['rate']:.1%} of {row['episodes']}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            published,
            row.get("verdict", ""),
        )
    return table
