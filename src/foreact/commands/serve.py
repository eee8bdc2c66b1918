"""`foreact serve`."""

import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from foreact.commands.options import Machine, MachineOptions, PolicyName, named
from foreact.commands.progress import bold, console, plain
from foreact.errors import ConfigurationError
from foreact.policy.policy import Policy
from foreact.policy.schedules import SCHEDULES
from foreact.serving.admission import read_token
from foreact.serving.config import OWN_DIALECT, Batching, Limits, ServerConfig
from foreact.serving.dialects import DIALECTS
from foreact.serving.logs import ServerLog
from foreact.serving.preparation import prepare
from foreact.serving.server import PolicyServer

_SWITCH_S = 0.0005
"""Seconds for which the thread that computes waits at most for the one that reads messages, whenever it needs Python:
by default 5 ms, hundreds of times a chunk."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Serve a policy to robots over the network.

    To openpi's clients as they are, and to foreact.control.client.Client. Robots that ask at a time are computed as one
    batch. SIGTERM or Ctrl-C finishes what is being answered, then ends. Whoever reaches the port can drive the robots:
    any host but this machine's own needs a token, and should have a certificate.

    Example: foreact serve --policy tiny --port 8000
    """

    policy: PolicyName = "tiny"
    """Name of a shipped policy, or a folder."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all of this machine's, which needs a token."""
    port: int = 8000
    """Port to listen on; 0 for one that is free."""
    token_file: Path | None = None
    """Holds the token that clients must send, 16 characters or more."""
    cert: Path | None = None
    """Certificate (PEM); with key, connections are encrypted (wss://)."""
    key: Path | None = None
    """Its private key (PEM)."""
    dialect: Annotated[str, named((OWN_DIALECT, *DIALECTS))] = OWN_DIALECT
    """Whose clients are answered.

    - foreact: our own and openpi's.
    - lingbot: those of the released LingBot-VA, its LIBERO and RoboTwin evaluations.
    - xpolicylab: those of XPolicyLab, which drive RoboTwin 2.0.
    """
    schedule: Annotated[str | None, named(SCHEDULES)] = None
    """Numbers of denoising steps by name; the policy's own by default."""
    max_sessions: int = 64
    """Robots that can be served at a time; each has a cache in the device's memory."""
    idle_s: float = 300.0
    """Seconds without a message after which a session is ended."""
    max_batch: int = 16
    """Requests that are computed together, at most; 1: one by one."""
    log_file: Path | None = None
    """Gets the log, one JSON object a line; by default it goes to stderr."""
    machine: Machine = MachineOptions()


def run(settings: Settings) -> None:
    """Load the policy, and serve it until a signal ends it."""
    config = ServerConfig(
        host=settings.host,
        port=settings.port,
        token=None if settings.token_file is None else read_token(settings.token_file),
        certificate=settings.cert,
        key=settings.key,
        name=settings.policy,
        dialect=settings.dialect,
        limits=Limits(sessions=settings.max_sessions, idle_s=settings.idle_s),
        batching=Batching(most=settings.max_batch),
    )
    log, switching_s = _open_log(settings.log_file), sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        policy = prepare(settings.policy, schedule=settings.schedule, device=settings.machine.use())
        asyncio.run(_serve(PolicyServer(policy, config), policy, config))
    finally:
        sys.setswitchinterval(switching_s)
        log.close()


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
    clients = [
        f'Robot:   Client("{address}", "what to do", mode="{mode}"{secret})',
        f'openpi:  WebsocketClientPolicy("{server.address}")',
    ]
    if config.dialect != OWN_DIALECT:
        clients = [f"{config.dialect}: its own clients, at {server.address}"]
    lines = [
        f"{bold(config.name)} ({facts.digest[:12]}) drives {bold(facts.embodiment)}; cameras: {plain(cameras)}.",
        *clients,
        f"Health:  {pages}/healthz   Metrics: {pages}/metrics   Ctrl-C ends it.",
    ]
    if not config.is_private and not secure:
        lines.append("[yellow]Nothing is encrypted: the network can read the token.[/] Add --cert and --key.")
    console.print("\n".join(lines), soft_wrap=True)


def _open_log(path: Path | None) -> ServerLog:
    try:
        return ServerLog(path or sys.stderr)
    except OSError as error:
        raise ConfigurationError(f"log file {path}", got=error, allowed="a file that can be written") from error
