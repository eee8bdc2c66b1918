"""How much longer an answer takes through Ray's proxy than from the plain server, turn by turn beside each other.

pip install ".[policy,ray]"
python examples/ray/latency.py --size 480 640
"""

import argparse
import os
import time
from contextlib import ExitStack

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # else whatever runs beside Ray comes before the robots

import numpy as np
import ray
from ray import serve
from websockets.sync.client import ClientConnection, connect

from foreact.control.packing import pack, unpack
from foreact.control.protocol import read_facts
from foreact.serving.background import serving
from foreact.serving.config import ServerConfig
from foreact.serving.preparation import prepare
from foreact.serving.ray_deployment import Arguments, app

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--policy", default="tiny")
parser.add_argument("--schedule", default="turbo")
parser.add_argument("--turns", type=int, default=100)
parser.add_argument("--size", type=int, nargs=2, action="append", help="of a picture; by default the policy's own")
parser.add_argument("--port", type=int, default=8000)
arguments = parser.parse_args()


def ask(connection: ClientConnection, observation: bytes) -> tuple[float, float]:
    """Return milliseconds until the answer, and those of them in which nothing was computed."""
    begun_s = time.perf_counter()
    connection.send(observation)
    timing = unpack(connection.recv())["server_timing"]
    total_ms = (time.perf_counter() - begun_s) * 1e3
    return total_ms, total_ms - timing["infer_ms"] - timing["queue_ms"]


def main() -> None:
    """Serve twice, ask both in turn, print the table."""
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port}, proxy_location="HeadOnly")
    try:
        served = Arguments(policy=arguments.policy, schedule=arguments.schedule, num_cpus=0.5, drain_s=1.0)
        serve.run(app(served), route_prefix="/")
        policy = prepare(arguments.policy, schedule=arguments.schedule, device="cpu")
        with serving(policy, ServerConfig(port=0)) as plain, ExitStack() as open_ones:
            addresses = {"plain server": plain.address, "Ray Serve": f"ws://127.0.0.1:{arguments.port}"}
            settings = {"compression": None, "max_size": None}
            connections = {n: open_ones.enter_context(connect(a, **settings)) for n, a in addresses.items()}
            facts = [read_facts(each.recv()) for each in connections.values()][-1]
            for size in arguments.size or [None]:
                measure(connections, facts, size)
    finally:
        serve.shutdown()
        ray.shutdown()


def measure(connections, facts, size) -> None:
    """Print the figures for pictures of one size."""
    images = {
        f"observation/images/{name}": np.zeros((*(size or own), 3), np.uint8) for name, own in facts.cameras.items()
    }
    state = np.zeros(len(facts.state_names), np.float32)
    observation = pack(images | {"observation/state": state, "prompt": "lift the cube"})
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in connections}
    for turn in range(arguments.turns + 5):
        for name, connection in connections.items():
            told = ask(connection, observation)
            if turn >= 5:
                took[name].append(told)
    print(f"{len(observation) / 1e3:.0f} kB a message, {arguments.turns} turns each; p50 / p95, milliseconds")
    for name, figures in took.items():
        (total, rest), (total_95, rest_95) = np.percentile(figures, [50, 95], axis=0)
        print(f"  {name:12}  answer {total:6.1f} / {total_95:6.1f}   of it not computing {rest:5.1f} / {rest_95:5.1f}")


if __name__ == "__main__":
    main()
