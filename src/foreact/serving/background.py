"""A policy server in a thread of this process: for notebooks, examples, benchmarks and tests."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from foreact.policy.policy import Policy
from foreact.serving.config import ServerConfig
from foreact.serving.server import PolicyServer
from foreact.serving.trials import Trial


@contextmanager
def serving(
    policy: Policy, config: ServerConfig, *, on_trial: Callable[[Trial], None] | None = None
) -> Iterator[PolicyServer]:
    """Serve a policy while the block runs; then finish what is being answered, and end.

    Args:
        policy: Served.
        config: Where, and how.
        on_trial: Called with each episode that a client reports as ended, in the server's thread: it must be quick.

    Raises:
        ConfigurationError: It cannot be listened there, or the certificate cannot be used.
    """
    server, loop = PolicyServer(policy, config, on_trial=on_trial), asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="foreact-server", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.open(), loop).result()
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
