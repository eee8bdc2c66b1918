"""`foreact serve`."""

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

from rich.markup import escape

from foreact.commands.progress import console, use_device
from foreact.errors import ConfigurationError
from foreact.policy.policy import Policy
from foreact.serving.admission import read_token
from foreact.serving.config import Batching, Limits, ServerConfig
from foreact.serving.logs import ServerLog
from foreact.serving.preparation import prepare
from foreact.serving.server import PolicyServer

_SWITCH_S = 0.0005
"""Seconds for which the thread that computes waits at most for the one that reads messages, whenever it needs Python:
by default 5 ms, hundreds of times a chunk."""


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
        token=None if token_file is None else read_token(token_file),
        certificate=certificate,
        key=key,
        name=policy_name,
        limits=Limits(sessions=max_sessions, idle_s=idle_s),
        batching=Batching(most=max_batch),
    )
    sys.setswitchinterval(_SWITCH_S)
    log = _open_log(log_file)
    try:
        policy = prepare(policy_name, schedule=schedule, device=use_device(device, threads))
        asyncio.run(_serve(PolicyServer(policy, config), policy, config))
    finally:
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
    lines = [
        f"[bold]{escape(config.name)}[/] ({facts.digest[:12]}) drives [bold]{escape(facts.embodiment)}[/]; "
        f"cameras: {escape(cameras)}.",
        f'Robot:   Client("{address}", "what to do", mode="{mode}"{secret})',
        f'openpi:  WebsocketClientPolicy("{server.address}")',
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
