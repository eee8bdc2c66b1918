"""`foreact play`: a page in the browser on which a policy is watched and disturbed while it works."""

import json
import webbrowser
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from foreact.commands.demo import spare_cores
from foreact.commands.loading import load_policy
from foreact.commands.options import DenoisingOptions, MachineOptions, PolicyName, named, shipped_policies
from foreact.commands.progress import bold, console
from foreact.errors import ConfigurationError, NotInstalledError
from foreact.evaluation.suite import FIRST_HELD_OUT_SEED
from foreact.policy.storage.checkpoint import CONFIG_FILE
from foreact.simulation.tasks import TASKS
from foreact.simulation.world import NUM_DOFS
from foreact.viewing.choices import PlayChoices

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Open a page where you play with a policy: watch it imagine and act, and move the cube while it works.

    Example: foreact play --task lift_cube
    """

    policy: PolicyName = "tiny-disturbed"
    """Name of a shipped policy, or a folder. The page can change to another one that ships."""
    task: Annotated[str, named(TASKS)] = "lift_cube"
    """What the robot is to do at first."""
    seed: int = FIRST_HELD_OUT_SEED
    """Of the first episode."""
    port: int = 8080
    """Of the page; the next free one if it is taken."""
    host: str = "127.0.0.1"
    """Address to listen on. Everybody who reaches it can use the page; the default is this machine alone."""
    out: Path = Path("outputs/play")
    """Gets the films that are saved."""
    open: bool = True
    """Open the page in this machine's browser."""
    threads: int | None = None
    """CPU threads of the policy; by default all but one, which is left to the control loop."""


def policies_for_this_robot() -> list[str]:
    """Return the names of the shipped policies that drive the two arms of our own scene."""
    folder = Path(str(files("foreact"))) / "checkpoints"
    robots = {name: json.loads((folder / name / CONFIG_FILE).read_text())["actions"] for name in shipped_policies()}
    return [name for name, actions in robots.items() if len(actions["embodiment"]["dofs"]) == NUM_DOFS]


def run(settings: Settings) -> None:
    """Serve the page until Ctrl-C."""
    try:
        from foreact.viewing.page import PlayPage  # help and completion work without viser
    except ModuleNotFoundError as error:
        raise NotInstalledError("foreact play", missing=error.name, extra="play") from error
    if not 0 < settings.port < 65536:
        raise ConfigurationError("port", got=settings.port, allowed="1 to 65535")
    threads = spare_cores() if settings.threads is None else settings.threads
    load = cache(partial(load_policy, denoising=DenoisingOptions(), machine=MachineOptions(threads=threads)))
    load(settings.policy)
    policies = tuple(dict.fromkeys([settings.policy, *policies_for_this_robot()]))
    choices = PlayChoices(policy=settings.policy, task=settings.task, seed=settings.seed)
    page = PlayPage(load, choices, policies=policies, host=settings.host, port=settings.port, films=settings.out)
    address = f"http://{'localhost' if settings.host in LOOPBACK else settings.host}:{page.port}"
    console.print(f"The page is at {bold(address)}. Ctrl-C ends it.")
    if settings.host not in LOOPBACK:
        console.print(f"Everybody who can reach {settings.host} can use it: it asks for no password.")
    if settings.open:
        webbrowser.open(address)
    try:
        page.run()
    except KeyboardInterrupt:
        console.print("The page is closed.")
    finally:
        page.close()
