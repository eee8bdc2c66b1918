"""A policy server in a thread of this process: for notebooks, examples, benchmarks and tests."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from foreact.policy.policy import Policy
from foreact.serving.config import ServerConfig
from foreact.serving.server import PolicyServer


@contextmanager
def serving(policy: Policy, config: ServerConfig) -> Iterator[PolicyServer]:
    """Serve a policy while the block runs; then finish what is being answered, and end.

    Raises:
        ConfigurationError: It cannot be listened there, or the certificate cannot be used.
    """
    server, loop = PolicyServer(policy, config), asyncio.new_event_loop()
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
