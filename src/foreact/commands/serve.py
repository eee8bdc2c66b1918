"""`foreact serve`."""

import asyncio
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from foreact.commands.progress import console, use_device
from foreact.errors import ConfigurationError
from foreact.policy.checkpoint import load
from foreact.policy.controllers import PolicyController, with_room
from foreact.policy.policy import Policy
from foreact.policy.schedules import apply_schedule, get_schedule
from foreact.serving.computing import Question, compute
from foreact.serving.config import Batching, Limits, ServerConfig
from foreact.serving.logs import ServerLog
from foreact.serving.server import PolicyServer
from foreact.types import Observation


def serve(
    policy_name: str,
    schedule: str | None,
    host: str,
    port: int,
    token_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    max_sessions: int,
    idle_s: float,
    max_batch: int,
    log_file: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """See `foreact.cli.serve`."""
    config = ServerConfig(
        host=host,
        port=port,
        token=None if token_file is None else _read_token(token_file),
        certificate=certificate,
        key=key,
        name=policy_name,
        limits=Limits(sessions=max_sessions, idle_s=idle_s),
        batching=Batching(most=max_batch),
    )
    if schedule is not None:
        get_schedule(schedule)  # an unknown one is told before anything large is loaded
    policy = with_room(apply_schedule(load(policy_name, device=use_device(device, threads)), schedule))
    server = PolicyServer(policy, config)
    log = _open_log(log_file)
    _warm_up(policy)
    try:
        asyncio.run(_serve(server, policy, config))
    finally:
        log.close()


def _warm_up(policy: Policy) -> None:
    """Compute a chunk for nobody: the first is slower than the rest, and no robot is to wait for that."""
    layout = policy.embodiment.layout
    sizes = zip(layout.cameras, layout.picture_sizes, strict=True)
    images = {camera: np.zeros((*size, 3), np.uint8) for camera, size in sizes}
    state = np.zeros(policy.embodiment.num_state_entries, np.float32)
    make = partial(PolicyController, policy, "", mode="synchronous")
    # A robot for which zeros are no state is refused, as any client's would be; then its first one warms up.
    compute([Question(controller=make, given=Observation(images=images, state=state, time_s=0.0))])


async def _serve(server: PolicyServer, policy: Policy, config: ServerConfig) -> None:
    """Serve until the first SIGTERM or SIGINT; the second ends at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(number: int) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # where there are none, Ctrl-C ends at once
            loop.add_signal_handler(number, end, number)
    await server.open()
    _tell(server, policy, config)
    await stop.wait()
    console.print("Finishing what is being answered.")
    await server.close()


def _tell(server: PolicyServer, policy: Policy, config: ServerConfig) -> None:
    facts, secure = server.host.facts, config.certificate is not None
    address = server.address if secure else server.address.removeprefix("ws://")
    secret = "" if config.token is None else ", token=..."
    mode = next(mode for mode in ("grounded", "synchronous") if mode in facts.modes)
    cameras = ", ".join(f"{name} {height}x{width}" for name, (height, width) in facts.cameras.items())
    pages = server.address.replace("ws", "http", 1)
    lines = [
        f"[bold]{config.name}[/] ({facts.digest[:12]}) drives [bold]{facts.embodiment}[/]; cameras: {cameras}.",
        f'Robot:   Client("{address}", "what to do", mode="{mode}"{secret})',
        f'openpi:  WebsocketClientPolicy("{server.address}")',
        f"Health:  {pages}/healthz   Metrics: {pages}/metrics   Ctrl-C ends it.",
    ]
    if not config.is_private and not secure:
        lines.append("[yellow]Nothing is encrypted: the network can read the token.[/] Add --cert and --key.")
    console.print("\n".join(lines), soft_wrap=True)


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"token file {path}", got=error, allowed="a readable text file") from error


def _open_log(path: Path | None) -> ServerLog:
    try:
        return ServerLog(path or sys.stderr)
    except OSError as error:
        raise ConfigurationError(f"log file {path}", got=error, allowed="a file that can be written") from error
