"""One client misbehaves, or attacks: do the others notice? And what when the server dies?

Robots without physics ask a server for chunks, each once per chunk's duration, all the time. Beside them a process of
its own commits one fault after another, quiet before and after each. A chunk is late if it took longer than what its
robot had under way. In the middle of each fault a newcomer connects and takes its first chunk. Then the server is
killed under robots that are driven by the machine's clock, and started again.

Exits with 1 if during a fault more chunks were late than in the quiet before and after it, a robot was lost, the
newcomer got no chunk, the server's memory grew by more than `MOST_GROWTH_MB` and what its sessions may take, or its
log to more than `MOST_LOG_MB`; if a client needed more than 2 s after the server was back; or if a robot executed
something else than what was decided, each action once.

    python benchmarks/faults.py [--robots 2] [--seconds 10] [--faults NAME ...] [--out benchmarks/results]
"""

import argparse
import asyncio
import json
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import psutil
from attacks import ATTACKS
from misbehaviour import FAULTS, TOKEN, Target, ask, begun, commit, speaking

from foreact.control.client import Client
from foreact.control.clock import RealClock
from foreact.control.drive import drive
from foreact.control.worker import ThreadWorker
from foreact.files import write_whole
from foreact.types import Observation
from serving import FakeRobot, server, unsurprised

ALL = FAULTS | ATTACKS
MOST_RESUME_S, MOST_NEWCOMER_S = 2.0, 10.0
MOST_GROWTH_MB, MOST_LOG_MB = 256, 100
"""Of the server's memory, what `--max-sessions` sessions take apart; and of all files of its log."""
SESSION_MB = 40
"""Of one session of the shipped policy, caches and pictures, rounded up."""
KILL_AFTER_S, AWAY_S, GO_ON_S = 6.0, 3.0, 8.0


# ---- the healthy ones ----


@dataclass
class Answer:
    """To a healthy robot."""

    asked_s: float
    latency_s: float
    late: bool


async def healthy(address: str, number: int, given: argparse.Namespace, target: Target, answers: list[Answer]) -> None:
    """One robot, until cancelled."""
    count = given.robots
    async with speaking(address) as (connection, facts):
        name, fake = await begun(connection, facts, number, given.slow)
        target.victims.append(name)
        sequence, due_s = 1, time.monotonic() + number / count * fake.period_s
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            sequence, asked_s = sequence + 1, time.monotonic()
            answer = await ask(connection, fake.step(name, sequence, fake.under_way))
            assert answer.sequence == sequence and np.isfinite(answer.actions).all()
            latency_s = time.monotonic() - asked_s
            answers.append(Answer(asked_s, latency_s, latency_s > fake.slack_s))
            due_s = max(due_s + fake.period_s, time.monotonic())


def figures(answers: list[Answer]) -> dict:
    latencies_ms = [1e3 * each.latency_s for each in answers]
    p50, p95 = np.quantile(latencies_ms, [0.5, 0.95]) if answers else (np.nan, np.nan)
    late = sum(each.late for each in answers)
    return {
        "chunks": len(answers),
        "late": late,
        "p50_ms": p50,
        "p95_ms": p95,
        "worst_ms": max(latencies_ms, default=0),
    }


async def newcomer(address: str) -> float:
    """Return the seconds until one who comes now has its first chunk; infinity if it gets none."""
    begun_s = time.monotonic()
    while time.monotonic() - begun_s < MOST_NEWCOMER_S:
        try:
            async with asyncio.timeout(MOST_NEWCOMER_S), speaking(address) as (connection, facts):
                await begun(connection, facts, 99)
            return time.monotonic() - begun_s
        except Exception:  # whatever it is: it tries again, as our client does
            await asyncio.sleep(0.5)
    return float("inf")


def loop_s(process: psutil.Process) -> float:
    """Return the processor time of the thread on which the server's event loop runs."""
    return next(each.user_time + each.system_time for each in process.threads() if each.id == process.pid)


async def watch(process: psutil.Process, memory_mb: list[float]) -> None:
    """Note the server's memory, until cancelled."""
    while True:
        memory_mb.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(0.2)


def log_mb(path: Path) -> float:
    """Return what the log's files take."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")) / 1e6


async def beside(address: str, process: psutil.Process, log: Path, given: argparse.Namespace) -> list[dict]:
    """Let robots ask, commit every fault in turn, quiet before each; return the figures of each window."""
    target, answers = Target(address), list[Answer]()
    robots = [asyncio.create_task(healthy(address, number, given, target, answers)) for number in range(given.robots)]
    rows = []

    async def window(name: str, seconds: float) -> dict:
        begin_s, begin_loop_s, memory_mb = time.monotonic(), loop_s(process), list[float]()
        watching = asyncio.create_task(watch(process, memory_mb))
        await asyncio.sleep(seconds / 2)
        came_s = None if name.startswith("(") else await newcomer(address)
        await asyncio.sleep(max(0.0, begin_s + seconds - time.monotonic()))
        await asyncio.sleep(1.0)  # what was asked last is answered
        watching.cancel()
        busy = (loop_s(process) - begin_loop_s) / (time.monotonic() - begin_s)
        ended = [each for each in robots if each.done()]
        asked = [each for each in answers if begin_s <= each.asked_s < begin_s + seconds]
        row = {"what": name} | figures(asked) | {"robots_lost": len(ended)}
        row |= {"memory_mb": max(memory_mb), "log_mb": log_mb(log), "newcomer_s": came_s, "loop_busy": busy}
        rows.append(row)
        return row

    await window("(warm-up)", 5.0)
    rows.clear()
    context = get_context("spawn")
    for name in given.faults:
        tell(await window("(quiet)", given.seconds))
        details = context.Queue()
        attacker = context.Process(target=commit, args=(ALL[name], target, given.seconds, details), daemon=True)
        attacker.start()
        await asyncio.to_thread(details.get, True, 60.0)
        row = await window(name, given.seconds)
        row["done"] = await asyncio.to_thread(details.get, True, 60.0)
        attacker.join()
        tell(row)
    tell(await window("(quiet)", given.seconds))
    for each in robots:
        each.cancel()
    lost = [each for each in await asyncio.gather(*robots, return_exceptions=True) if isinstance(each, Exception)]
    if lost and not isinstance(lost[0], asyncio.CancelledError):
        print("a robot was lost:", repr(lost[0]))
    return rows


def tell(row: dict) -> None:
    done = ", ".join(f"{name}: {count}" for name, count in row.get("done", {}).items())
    print(
        f"{row['what']:36s} {row['chunks']:6d} {row['late']:5d} {row['p50_ms']:8.0f} {row['p95_ms']:8.0f} "
        f"{row['worst_ms']:8.0f} {row['loop_busy']:5.1%} {row['memory_mb']:6.0f} {row['log_mb']:6.2f} "
        f"{row['newcomer_s'] or 0:8.1f}  {done}",
        flush=True,
    )


# ---- the server dies ----


class Body:
    """A robot that does what it is told, and sees noise; it moves until it is told to stop."""

    def __init__(self, facts, clock: RealClock, number: int):
        self._fake, self._clock, self._number = FakeRobot(facts, number), clock, number
        self.state, self.done, self.acted_s = self._fake.actions[0], False, list[float]()

    def observe(self) -> Observation:
        """Noise."""
        images = {camera: clip[len(self.acted_s) % len(clip)] for camera, clip in self._fake.images.items()}
        return Observation(images=images, state=self.state, time_s=self._clock.now())

    def act(self, action: np.ndarray) -> None:
        """Be where the action says."""
        self.state = np.asarray(action, np.float32)
        self.acted_s.append(time.monotonic())


def driven(address: str, number: int, stop: threading.Event, kept: dict) -> None:
    """Drive one robot over the wire until told to stop; keep what was decided, executed and when."""
    with Client(address, f"robot {number}", mode="grounded", seed=number, token=TOKEN) as client:
        clock, chunks = RealClock(), []
        robot = Body(client.facts, clock, number)

        def note(placed) -> None:
            chunks.append((time.monotonic(), placed))
            robot.done = robot.done or stop.is_set()

        config = client.facts.control_config(watchdog_s=None, unlimited=True)  # it moves nothing
        report = drive(
            robot, client, config, clock=clock, worker=ThreadWorker(clock), standstill=robot.state, on_chunk=note
        )
        kept[number] = SimpleNamespace(report=report, chunks=chunks)


@contextmanager
def free_port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield port


def killed_and_restarted(given: argparse.Namespace, token_file: Path) -> dict:
    """Kill the server under robots, start it again; return how long each client needed once it was back."""
    from realtime import decided  # imports torch, which the processes that misbehave can do without

    kept: dict[int, SimpleNamespace] = {}
    stop = threading.Event()
    options = ["--token-file", str(token_file)]
    with free_port() as port:
        with server(given.policy, given.schedule, 16, 64, given.threads, port=port, options=options) as (address, pid):
            robots = [
                threading.Thread(target=driven, args=(address, number, stop, kept)) for number in range(given.robots)
            ]
            for each in robots:
                each.start()
            time.sleep(KILL_AFTER_S)
            os.kill(pid, 9)
            killed_s = time.monotonic()
            time.sleep(AWAY_S)
        with server(given.policy, given.schedule, 16, 64, given.threads, port=port, options=options):
            back_s = time.monotonic()
            time.sleep(GO_ON_S)
            stop.set()
            for each in robots:
                each.join(60.0)
    resumed, wrong = [], 0
    for each in kept.values():
        after = [at for at, placed in each.chunks if at > back_s and len(placed.chunk.actions)]
        resumed.append(min(after) - back_s if after else float("inf"))
        record = SimpleNamespace(chunks=[placed for _, placed in each.chunks], executed=each.report.executed)
        wrong += not np.array_equal(decided(record), record.executed)  # type: ignore[arg-type]
    return {
        "robots": given.robots,
        "came_through": len(kept),
        "away_s": back_s - killed_s,
        "resumed_after_s": resumed,
        "executed_otherwise_than_decided": wrong,
        "actions_executed": [each.report.num_executed for each in kept.values()],
    }


def failures(rows: list[dict], restart: dict | None, most_sessions: int) -> list[str]:
    """Return what did not hold."""
    found, most_mb = [], rows[0]["memory_mb"] + MOST_GROWTH_MB + most_sessions * SESSION_MB
    for before, row, after in zip(rows[::2], rows[1::2], rows[2::2], strict=False):
        late, quiet = (
            row["late"] / max(1, row["chunks"]),
            max(each["late"] / max(1, each["chunks"]) for each in (before, after)),
        )
        if late > quiet:
            found.append(f"{row['what']}: {row['late']} of {row['chunks']} chunks late, {quiet:.0%} when it was quiet")
        if row["newcomer_s"] > MOST_NEWCOMER_S:
            found.append(f"{row['what']}: a newcomer got no chunk")
    for row in rows:
        if row["robots_lost"]:
            found.append(f"{row['what']}: {row['robots_lost']} robots lost")
        if row["memory_mb"] > most_mb:
            found.append(f"{row['what']}: {row['memory_mb']:.0f} MB, allowed {most_mb:.0f} MB")
    if rows[-1]["log_mb"] > MOST_LOG_MB:
        found.append(f"the log has {rows[-1]['log_mb']:.0f} MB")
    if restart is not None:
        if restart["came_through"] < restart["robots"] or max(restart["resumed_after_s"]) > MOST_RESUME_S:
            found.append(f"clients went on {restart['resumed_after_s']} s after the server was back")
        if restart["executed_otherwise_than_decided"]:
            found.append("something else was executed than decided")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--robots", type=int, default=2, help="healthy ones; as many as the machine serves in time")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each fault, and of the quiet before it")
    parser.add_argument("--faults", nargs="*", default=list(ALL), choices=list(ALL))
    parser.add_argument(
        "--schedule", default="turbo", help="a quick one leaves the robots some slack on a slow machine"
    )
    parser.add_argument("--threads", type=int, default=1, help="of the server")
    parser.add_argument("--slow", type=float, default=1.0, help="times slower that the robots move, on a busy machine")
    parser.add_argument("--sessions", type=int, default=16, help="that the server has room for")
    parser.add_argument("--no-restart", action="store_true", help="do not kill the server at the end")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        token_file = Path(folder) / "token.txt"
        token_file.write_text(TOKEN)
        columns = "chunks  late   p50 ms   p95 ms worst ms  loop     MB log MB newcomer"
        print(f"what                                 {columns}  of the fault")
        options, log = ["--token-file", str(token_file)], Path(folder) / "server.log"
        settings = (given.schedule, 16, given.sessions, given.threads)
        with unsurprised(given.policy) as given.policy:
            with server(given.policy, *settings, options=options, log=str(log)) as (address, pid):
                rows = asyncio.run(beside(address, psutil.Process(pid), log, given))
            restart = None if given.no_restart else killed_and_restarted(given, token_file)
    if restart is not None:
        print(json.dumps(restart, indent=1))
    found = failures(rows, restart, given.sessions)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        details = {
            "machine": platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "load_after": os.getloadavg()[0],
            "robots": given.robots,
            "slow": given.slow,
            "schedule": given.schedule,
            "windows": rows,
            "restart": restart,
            "failures": found,
        }
        write_whole(given.out / "faults.json", (json.dumps(details, indent=1) + "\n").encode())
    if found:
        sys.exit("; ".join(found))


if __name__ == "__main__":
    main()
