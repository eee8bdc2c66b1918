"""Our inference against LeRobot's port of the released program: equal weights, inputs and outputs, in one process.

Needs an environment that holds both, Python 3.12 (see benchmarks/README.md):

    PYTHONPATH=src python benchmarks/against_port [--counts libero robotwin] [--head-dim 128] [--threads 1 2]

Both sides predict the same chunk and take in the same observation, turn about. Schedules are shortened in proportion
(`--divisor`); a whole chunk is put together from the mean time of a pass of each kind by the whole schedule, and
`--divisor 1` runs it whole. Exits with 1 if an output differs by more than `TOLERANCE`.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from ours import Ours
from port import Port
from side import Clock, Side, Turn
from torch import Tensor
from workload import COUNTS, Counts, Size, draw

TOLERANCE = 1e-4
"""Largest relative difference of latents and actions, norm(ours - port) / norm(port)."""
TARGETS = {"LIBERO": 2.5, "RoboTwin": 1.9}
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
STAGES = ("video", "action", "append", "chunk")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; times in milliseconds, medians over the pairs."""

    counts: str
    head_dim: int
    threads: int
    history: str
    """Share of the window that is filled."""
    history_frames: int
    port_ms: dict[str, float]
    """Of a video pass, an action pass, appending, and the whole chunk."""
    ours_ms: dict[str, float]
    ratio: float
    """Port to ours, whole chunk: the median of the pairs."""
    ratios: list[float]
    """Of every pair."""
    latents_error: float
    actions_error: float


def main() -> None:
    given = _arguments()
    rows = []
    for name in given.counts:
        counts, size = COUNTS[name], Size(num_heads=256 // given.head_dim, head_dim=given.head_dim)
        inputs = draw(size, counts, seed=0)
        port = Port(size, counts, inputs, CLOCKS[given.clock], seed=0)
        ours = Ours(size, counts, inputs, port.weights, CLOCKS[given.clock])
        for threads in given.threads:
            torch.set_num_threads(threads)
            for history in given.histories:
                rows.append(measure(port, ours, counts, history, threads=threads, head_dim=given.head_dim, given=given))
                print(_line(rows[-1]), file=sys.stderr, flush=True)
    print_table(rows)
    if given.json:
        machine = platform.processor() or platform.machine()
        about = {"machine": machine, "torch": torch.__version__, "clock": given.clock, "size": asdict(Size())}
        given.json.write_text(json.dumps(about | {"rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    if any(max(row.latents_error, row.actions_error) > TOLERANCE for row in rows):
        sys.exit(f"an output differs by more than {TOLERANCE}")


def measure(
    port: Port, ours: Ours, counts: Counts, history: str, *, threads: int, head_dim: int, given: argparse.Namespace
) -> Row:
    """Return one line: a pair that warms up and says whether outputs are equal, then the pairs that are timed."""
    num_chunks, steps = counts.histories[history], counts.shortened(given.divisor)
    for side in (port, ours):
        side.observe(num_chunks)
    first = port.turn(*steps), ours.turn(*steps)
    pairs = [_pair(port, ours, steps, flipped=bool(number % 2)) for number in range(given.pairs)]
    stages = [(_stages(port, theirs, counts), _stages(ours, mine, counts)) for theirs, mine in pairs]
    ratios = [theirs["chunk"] / mine["chunk"] for theirs, mine in stages]
    return Row(
        counts=counts.name,
        head_dim=head_dim,
        threads=threads,
        history=history,
        history_frames=num_chunks * counts.frames,
        port_ms={stage: statistics.median(theirs[stage] for theirs, _ in stages) for stage in STAGES},
        ours_ms={stage: statistics.median(mine[stage] for _, mine in stages) for stage in STAGES},
        ratio=statistics.median(ratios),
        ratios=ratios,
        latents_error=_relative_error(first[1].latents, first[0].latents),
        actions_error=_relative_error(first[1].actions, first[0].actions),
    )


def _pair(port: Side, ours: Side, steps: tuple[int, int], *, flipped: bool) -> tuple[Turn, Turn]:
    if flipped:
        mine = ours.turn(*steps)
        return port.turn(*steps), mine
    return port.turn(*steps), ours.turn(*steps)


def _stages(side: Side, turn: Turn, counts: Counts) -> dict[str, float]:
    return {
        "video": turn.video_ms / turn.video_passes,
        "action": turn.action_ms / turn.action_passes,
        "append": turn.append_ms,
        "chunk": turn.chunk_ms(*side.passes(counts.video_steps, counts.action_steps)),
    }


def _relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def print_table(rows: list[Row]) -> None:
    """Print a table for people."""
    heads = ("counts", "head", "threads", "history", "port: video, action, append; chunk ms", "ours")
    heads += ("ratio (lowest to highest)", "target", "difference")
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    for row in rows:
        print(_line(row))


def _line(row: Row) -> str:
    def times(stages: dict[str, float]) -> str:
        return f"{stages['video']:.0f}, {stages['action']:.1f}, {stages['append']:.0f}; {stages['chunk']:.0f}"

    ratio = f"{row.ratio:.2f} ({min(row.ratios):.2f} to {max(row.ratios):.2f})"
    error = max(row.latents_error, row.actions_error)
    history = f"{row.history} ({row.history_frames} frames)"
    cells = (row.counts, row.head_dim, row.threads, history, times(row.port_ms), times(row.ours_ms), ratio)
    return f"| {' | '.join(map(str, cells))} | {TARGETS[row.counts]} | {error:.0e} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", nargs="+", choices=COUNTS, default=list(COUNTS))
    parser.add_argument("--histories", nargs="+", choices=("0", "half", "full"), default=["0", "half", "full"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--head-dim", type=int, choices=(32, 128), default=128, help="width 256 in 8 or 2 heads")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--divisor", type=int, default=5, help="schedules are shortened so many times")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of all threads; for busy machines")
    parser.add_argument("--json", type=Path, help="write figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
