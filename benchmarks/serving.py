"""The policy server under load: chunks a second, latencies and late chunks for 1 to 64 robots, batched and one by one.

The server is a process of its own (`foreact serve`), the robots are coroutines of this one. They have no physics: each
shows noise, says that it executed a chunk's worth of actions and that half a chunk is under way. The policy's threshold
of disagreement is taken out, or noise would be a surprise, and answered by "see first". Every setting is
run at two paces. `robot`: each asks once per chunk's duration, as a robot of that rate does; a chunk is late if it took
longer than what was under way. `full`: each asks again at once, which is what the server can do at most. The first
answers, until every robot has had two, do not count. With --seconds 3600 it is the hour's endurance test: memory is
the server's, from the beginning to the end.

    python benchmarks/serving.py [--robots 1 4 16 64] [--seconds 20] [--batch 16 1] [--out benchmarks/results]
"""

import argparse
import asyncio
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from websockets.asyncio.client import connect

from foreact.control.protocol import VERSION, Begin, Facts, Start, Step, encode, read_facts, read_reply
from foreact.files import write_whole

MEMORY_SAMPLES = 60


@dataclass
class Load:
    """One setting, and what came of it."""

    robots: int
    batch: int
    pace: str
    seconds: float = 0.0
    chunks: int = 0
    chunks_per_s: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    late_share: float = 0.0
    mean_batch: float = 0.0
    memory_mb: list[float] = field(default_factory=list)
    """The server's, `MEMORY_SAMPLES` times, equally spaced."""
    latencies_s: list[float] = field(default_factory=list, repr=False)
    batches: list[float] = field(default_factory=list, repr=False)


class FakeRobot:
    """Says what a robot would, of its number's noise."""

    def __init__(self, facts: Facts, number: int, slow: float = 1.0):
        """See the module; it moves `slow` times slower than the policy's robot."""
        rng = np.random.default_rng(number)
        per_frame, dofs = facts.actions_per_latent_frame, len(facts.action_names)
        self.num_actions = facts.latent_frames_per_chunk * per_frame
        num_frames = self.num_actions // facts.camera_stride
        self.images = {
            camera: rng.integers(0, 256, (num_frames, *size, 3), dtype=np.uint8)
            for camera, size in facts.cameras.items()
        }
        self.actions = rng.uniform(0, 0.1, (self.num_actions, dofs)).astype(np.float32)
        self.under_way = self.actions[: max(1, facts.latent_frames_per_chunk // 2) * per_frame]
        self.period_s = slow * self.num_actions / facts.action_hz
        self.slack_s = slow * len(self.under_way) / facts.action_hz

    def begin(self, session: str) -> Begin:
        """Its first observation."""
        images = {camera: clip[0] for camera, clip in self.images.items()}
        state = self.actions[0]
        return Begin(session=session, sequence=1, sent_s=time.monotonic(), images=images, state=state)

    def step(self, session: str, sequence: int, under_way: np.ndarray) -> Step:
        """A turn."""
        return Step(
            session=session,
            sequence=sequence,
            sent_s=time.monotonic(),
            images=self.images,
            executed=self.actions,
            under_way=under_way,
            prefix=self.actions[:0],
        )


async def robot(address: str, number: int, load: Load, warm: asyncio.Barrier, seconds: float) -> None:
    """One robot's conversation."""
    async with connect(address, compression=None, max_size=None, proxy=None) as socket:
        facts = read_facts(await socket.recv())
        fake = FakeRobot(facts, number)

        async def ask(message):
            await socket.send(encode(message))
            return read_reply(await socket.recv())

        mode = "grounded" if "grounded" in facts.modes else "synchronous"
        under_way = fake.under_way if mode == "grounded" else fake.actions[:0]
        start = Start(
            version=VERSION,
            instruction=f"robot {number}",
            mode=mode,
            seed=number,
            imagined=False,
            session=None,
            token=None,
            sent_s=time.monotonic(),
        )
        session = (await ask(start)).session
        await ask(fake.begin(session))
        await ask(fake.step(session, 2, under_way))
        await warm.wait()
        begun_s, sequence = time.monotonic(), 2
        due_s = begun_s + (number / load.robots * fake.period_s if load.pace == "robot" else 0.0)
        while due_s < begun_s + seconds:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            sequence, asked_s = sequence + 1, time.monotonic()
            answer = await ask(fake.step(session, sequence, under_way))
            latency_s = time.monotonic() - asked_s
            assert answer.sequence == sequence and np.isfinite(answer.actions).all()
            assert len(answer.actions) == fake.num_actions
            load.latencies_s.append(latency_s)
            load.batches.append(answer.server_timing["batch_size"])
            load.late_share += latency_s > fake.slack_s
            due_s = max(due_s + fake.period_s, time.monotonic()) if load.pace == "robot" else time.monotonic()


@contextmanager
def unsurprised(policy: str) -> Iterator[str]:
    """The policy without its threshold of disagreement, in a folder of its own."""
    import foreact  # reaches torch, which the processes of robots can do without
    from foreact.policy.policy import with_settings
    from foreact.policy.storage.checkpoint import save_policy

    with TemporaryDirectory() as folder:
        save_policy(with_settings(foreact.load(policy), disagreement_threshold=None), Path(folder), provenance={})
        yield folder


@contextmanager
def server(
    policy: str,
    schedule: str | None,
    batch: int,
    most: int,
    threads: int,
    *,
    port: int = 0,
    log: str = os.devnull,
    options: Sequence[str] = (),
) -> Iterator[tuple[str, int]]:
    """A server process: its address and its number."""
    command = [sys.executable, "-m", "foreact", "serve", "--policy", policy, "--port", str(port), "--log-file", log]
    command += ["--threads", str(threads), "--max-batch", str(batch), "--max-sessions", str(most), *options]
    command += [] if schedule is None else ["--schedule", schedule]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r'WebsocketClientPolicy\("([^"]*)"\)', line):
                yield found[1], process.pid
                return
        raise SystemExit("the server did not start")
    finally:
        process.terminate()
        process.wait(60)


async def measure(address: str, pid: int, load: Load, seconds: float) -> Load:
    """Run one setting."""
    process, warm = psutil.Process(pid), asyncio.Barrier(load.robots + 1)
    robots = [asyncio.create_task(robot(address, number, load, warm, seconds)) for number in range(load.robots)]
    waiting = asyncio.create_task(warm.wait())
    await asyncio.wait([waiting, *robots], return_when=asyncio.FIRST_COMPLETED)
    begun_s = time.monotonic()
    watching = asyncio.create_task(watch_memory(process, load, seconds))
    failed = [each for each in await asyncio.gather(*robots, return_exceptions=True) if each is not None]
    watching.cancel()
    if failed:
        raise failed[0]
    load.seconds, load.chunks = time.monotonic() - begun_s, len(load.latencies_s)
    load.chunks_per_s = load.chunks / load.seconds
    load.p50_ms, load.p95_ms, load.p99_ms = (1e3 * q for q in np.quantile(load.latencies_s, [0.5, 0.95, 0.99]))
    load.late_share /= load.chunks
    load.mean_batch = float(np.mean(load.batches))
    load.memory_mb.append(process.memory_info().rss / 1e6)
    return load


async def watch_memory(process: psutil.Process, load: Load, seconds: float) -> None:
    """Note the server's memory, until cancelled."""
    while True:
        load.memory_mb.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(seconds / MEMORY_SAMPLES)


def save(done: list[Load], arguments: argparse.Namespace) -> None:
    """Write what has been measured so far: an hour's load must not be lost with what comes after it."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = [{k: v for k, v in asdict(load).items() if k not in ("latencies_s", "batches")} for load in done]
    settings = {"schedule": arguments.schedule, "threads": arguments.threads}
    details = {"machine": platform.processor() or platform.machine(), **settings, "loads": rows}
    write_whole(arguments.out / "serving.json", (json.dumps(details, indent=1) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--schedule", default=None)
    parser.add_argument("--robots", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 1], help="requests computed together, at most")
    parser.add_argument("--pace", nargs="+", default=["full", "robot"], choices=["full", "robot"])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    done: list[Load] = []
    print("robots  batch  pace   chunks/s  p50 ms  p95 ms  p99 ms   late  together  memory MB")
    most = max(arguments.robots)
    for batch in arguments.batch:
        with (
            unsurprised(arguments.policy) as policy,
            server(policy, arguments.schedule, batch, most, arguments.threads) as (address, pid),
        ):
            for robots in arguments.robots:
                for pace in arguments.pace:
                    setting = Load(robots=robots, batch=batch, pace=pace)
                    load = asyncio.run(measure(address, pid, setting, arguments.seconds))
                    done.append(load)
                    print(
                        f"{load.robots:6d} {load.batch:6d}  {load.pace:6s} {load.chunks_per_s:8.2f} {load.p50_ms:7.0f} "
                        f"{load.p95_ms:7.0f} {load.p99_ms:7.0f} {load.late_share:6.1%} {load.mean_batch:9.1f}  "
                        f"{load.memory_mb[0]:.0f} > {load.memory_mb[-1]:.0f}",
                        flush=True,
                    )
                    if arguments.out is not None:
                        save(done, arguments)


if __name__ == "__main__":
    main()
