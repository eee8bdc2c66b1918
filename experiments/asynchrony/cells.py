"""What is studied: one cell for each task, controller and latency, in the order of what they decide."""

from dataclasses import dataclass, replace
from pathlib import Path

from foreact.evaluation.suite import EvaluationConfig
from foreact.policy.controllers import ControlMode
from foreact.policy.policy import Policy

TASKS = ("lift_cube", "reach_cube", "transfer_cube")
CONTROLLERS: tuple[ControlMode, ...] = ("synchronous", "grounded", "naive", "prefixed")
LATENCIES_MS = (320, 0, 640, 160, 80)
FRAMES_PER_CHUNK = 2
"""Latent frames of a chunk."""
EXECUTED = 16
"""Actions of a chunk that are executed before the next begins: one latent frame, 320 ms."""
LATENT_FRAME_MS = 320
PATIENCE = 2.0
"""Times the task's own limit after which an episode is cut off."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One folder of episodes."""

    task: str
    controller: ControlMode
    latency_ms: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.task}-{self.controller}-{self.latency_ms}ms"

    @property
    def computed_as(self) -> "Cell":
        """The cell whose episodes are the same, number by number.

        Without latency nothing is under way when a chunk is asked for, whatever the controller. A prefix is what
        whole latent frames leave over of a latency: where they leave nothing there is none.
        """
        if self.latency_ms == 0:
            return replace(self, controller="synchronous")
        if self.controller == "prefixed" and self.latency_ms % LATENT_FRAME_MS == 0:
            return replace(self, controller="grounded")
        return self

    def config(self, num_episodes: int) -> EvaluationConfig:
        """Return how it is evaluated."""
        return EvaluationConfig(
            task=self.task,
            num_episodes=num_episodes,
            controller=self.controller,
            latency_ms=self.latency_ms,
            patience=PATIENCE,
            execution_horizon=EXECUTED,
        )


ALL_CELLS = tuple(
    Cell(task=task, controller=controller, latency_ms=latency_ms)
    for latency_ms in LATENCIES_MS
    for task in TASKS
    for controller in CONTROLLERS
)


def with_short_chunks(policy: Policy) -> Policy:
    """Return the policy as it is studied."""
    return policy.with_config(replace(policy.config, latent_frames_per_chunk=FRAMES_PER_CHUNK))


def episodes_in(folder: Path) -> int:
    """Return how many episodes are written there."""
    path = folder / "episodes.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0
