"""Evaluation protocols as data: what decides a benchmark's figure next to the policy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from foreact.errors import ConfigurationError, UnknownNameError

Orientation = Literal["upright", "rows_flipped", "rotated"]


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol:
    """How episodes of a suite are run and seen. Two figures can be compared only if this is the same for both."""

    name: str
    """How users name it: the suite, then whose protocol it is."""
    source: str
    """Where it is written down."""
    image_size: int
    """Height and width of the rendered pictures, pixels; the policy resizes them to its own."""
    max_steps: int | None = None
    """Control steps after which an episode is cut off; None: as each task says."""
    max_steps_of: Mapping[str, int] = field(default_factory=dict)
    """Other limits, by the first part of the task's name ("object" of "object/3")."""
    num_trials: int | None = None
    """Episodes per task that a published figure is made of; None: not laid down."""
    settle_steps: int = 0
    """Control steps after a reset in which the robot waits for objects to come to rest; they count for no limit."""
    settle_action: tuple[float, ...] = ()
    """What the robot does meanwhile; empty: zeros."""
    orientation: Orientation = "upright"
    """What is done to the renderer's pictures: nothing; rows in reverse order, so that a picture that comes upside down
    is upright; or rows and columns, which also swaps left and right."""
    quality: Literal["stock", "fast"] = "stock"
    """`stock`: the renderer as the benchmark sets it. `fast`: without shadows, reflections and multisampling, several
    times as fast on a processor; such figures are not comparable with published ones."""
    simulator_seed: int | None = None
    """Seed of the simulator's own draws; None: the episode's."""
    starts: Literal["fixed", "sampled"] = "fixed"
    """Where things are at the beginning: `fixed` as the suite's own list has it, where it has one; `sampled` drawn anew
    from the episode's seed, so that demonstrations begin elsewhere than evaluations."""
    reference_versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of packages with which published figures were measured."""

    def __post_init__(self) -> None:
        for name in ("image_size", "max_steps", "num_trials"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} of protocol {self.name!r}", got=value, allowed="1 or more")
        if self.settle_steps < 0:
            raise ConfigurationError(
                f"settle_steps of protocol {self.name!r}", got=self.settle_steps, allowed="0 or more"
            )

    def limit(self, task: str, own: int) -> int:
        """Return the time limit of a task in control steps; `own` is what the task itself says."""
        return self.max_steps_of.get(task.partition("/")[0], self.max_steps or own)

    def turn(self, picture: np.ndarray) -> np.ndarray:
        """Return a rendered picture [height, width, 3] as the protocol shows it."""
        if self.orientation == "upright":
            return picture
        return np.ascontiguousarray(picture[::-1] if self.orientation == "rows_flipped" else picture[::-1, ::-1])


_OPENPI_LIMITS = {"spatial": 220, "object": 280, "goal": 300, "10": 520}
_LIBERO_VERSIONS = {"mujoco": "2.3.7"}

_ALL = (
    EvaluationProtocol(
        name="aloha-foreact", source="this package: seeds from 1000000 on, limits as each task says", image_size=128
    ),
    EvaluationProtocol(
        name="metaworld-foreact",
        source="LeRobot's Meta-World environment, with smaller pictures that a processor renders quickly",
        image_size=128,
        max_steps=500,
        orientation="rotated",
        quality="fast",
    ),
    EvaluationProtocol(
        name="metaworld-lerobot",
        source="github.com/huggingface/lerobot, envs/metaworld.py: camera corner2, turned by half a turn",
        image_size=480,
        max_steps=500,
        num_trials=10,
        orientation="rotated",
    ),
    EvaluationProtocol(
        name="gym_aloha-lerobot",
        source="github.com/huggingface/lerobot, configuration of its environment `aloha`",
        image_size=480,
        max_steps=400,
        num_trials=500,
    ),
    EvaluationProtocol(
        name="gym-registered", source="the environment's own registration with gymnasium", image_size=96
    ),
    EvaluationProtocol(
        name="libero-original",
        source="Liu et al., LIBERO (arXiv 2306.03310)",
        image_size=128,
        max_steps=600,
        num_trials=20,
        settle_steps=5,
        orientation="rows_flipped",
        reference_versions=_LIBERO_VERSIONS,
    ),
    EvaluationProtocol(
        name="libero-openpi",
        source="github.com/Physical-Intelligence/openpi, examples/libero/main.py",
        image_size=256,
        max_steps_of=_OPENPI_LIMITS,
        num_trials=50,
        settle_steps=10,
        settle_action=(0.0,) * 6 + (-1.0,),
        orientation="rotated",
        simulator_seed=7,
        reference_versions=_LIBERO_VERSIONS,
    ),
    EvaluationProtocol(
        name="libero-lerobot",
        source="github.com/huggingface/lerobot, envs/libero.py",
        image_size=256,
        max_steps_of=_OPENPI_LIMITS | {"spatial": 280},
        num_trials=10,
        settle_steps=10,
        settle_action=(0.0,) * 6 + (-1.0,),
        orientation="rotated",
        reference_versions=_LIBERO_VERSIONS,
    ),
    EvaluationProtocol(
        name="libero-lingbot",
        source="github.com/Robbyant/lingbot-va, evaluation/libero/client.py",
        image_size=128,
        max_steps=800,
        num_trials=50,
        settle_steps=5,
        orientation="rows_flipped",
        reference_versions=_LIBERO_VERSIONS,
    ),
    EvaluationProtocol(
        name="libero-foreact",
        source="LingBot-VA's, rendered without shadows' multisampling, which a processor does several times as fast",
        image_size=128,
        max_steps=800,
        settle_steps=5,
        orientation="rows_flipped",
        quality="fast",
        simulator_seed=7,
    ),
    EvaluationProtocol(
        name="libero-demonstrations",
        source="as libero-foreact, from starts that are drawn by the episode's seed, not the benchmark's own",
        image_size=128,
        max_steps=400,
        settle_steps=5,
        orientation="rows_flipped",
        quality="fast",
        starts="sampled",
    ),
)

PROTOCOLS: dict[str, EvaluationProtocol] = {protocol.name: protocol for protocol in _ALL}


def get_protocol(name: str, suite: str, known: tuple[str, ...]) -> EvaluationProtocol:
    """Return the protocol of that name.

    Args:
        name: The protocol's.
        suite: The suite it is for.
        known: The protocols of that suite.

    Raises:
        UnknownNameError: There is none, or it is for another suite; the message lists the suite's.
    """
    if name not in known or name not in PROTOCOLS:
        raise UnknownNameError(f"protocol of {suite}", name, known)
    return PROTOCOLS[name]
