"""`foreact play`."""

import time
from dataclasses import dataclass
from typing import Annotated

from foreact.commands.demo import spare_cores
from foreact.commands.loading import load_policy
from foreact.commands.options import DenoisingOptions, MachineOptions, PolicyName, named
from foreact.commands.progress import console
from foreact.errors import ConfigurationError, UnknownNameError
from foreact.simulation.tasks import TASKS
from foreact.viewing.page import Page, first_episode, playable_tasks
from foreact.viewing.player import Player


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Play with a policy in the browser: run it, pause it, push the cube, see what it imagines.

    The page is served on this machine alone. Drag the arrows at the cube while the robot works: in closed loop it goes
    after it, in open loop it does not. Ctrl-C ends it.

    Example: foreact play --task lift_cube
    """

    policy: PolicyName = "tiny-disturbed"
    """Name of a shipped policy, or a folder."""
    task: Annotated[str | None, named(TASKS)] = None
    """The first task; others that the policy was trained on can be chosen on the page."""
    seed: int = 1_000_000
    """Of the first episode."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines play, too: there is no password."""
    port: int = 8080
    """Of the page."""
    threads: int | None = None
    """CPU threads of the policy; by default all but one."""


def run(settings: Settings) -> None:
    """Serve the page until Ctrl-C."""
    if settings.seed < 0:
        raise ConfigurationError("seed", got=settings.seed, allowed="0 or more")
    if settings.task is not None and settings.task not in TASKS:
        raise UnknownNameError("task", settings.task, TASKS)
    threads = spare_cores() if settings.threads is None else settings.threads
    policy = load_policy(settings.policy, DenoisingOptions(), MachineOptions(threads=threads))
    tasks = playable_tasks(policy.instructions)
    if settings.task is not None and settings.task not in tasks:
        tasks = (*tasks, settings.task)
    changes = {} if settings.task is None else {"task": settings.task}
    player = Player(policy, first_episode(tasks, seed=settings.seed, **changes))
    page = Page(player, tasks=tasks, host=settings.host, port=settings.port)
    console.print(f"Open [bold]{page.address}[/] in a browser. Ctrl-C ends it.")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("Ended.")
    finally:
        page.close()
        player.close()
