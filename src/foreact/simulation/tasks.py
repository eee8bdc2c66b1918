"""What the robot can be asked to do: words, time limits, and the stages by which progress is scored."""

from dataclasses import dataclass

from foreact.errors import ConfigurationError, UnknownNameError
from foreact.simulation.stages import (
    NEAR_M,
    REACH_M,
    Stage,
    above_bin,
    all_in_bins,
    held,
    held_alone,
    held_by_both,
    in_bin,
    points_at_another_bin,
    points_at_any_bin,
    points_at_bin,
    raised,
    tip_within,
)

LONGEST_DELAY_STEPS = 750
"""15 s of darkness: longer than the hands could be kept on the way, shorter than the policy's history."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task in the common scene; the condition of its last stage is success."""

    name: str
    """How users name it."""
    instruction: str
    """What the robot is told, in words."""
    max_steps: int
    """Control steps after which an episode is cut off."""
    plan: tuple[Stage, ...]
    """The stages in the order in which they are usually achieved."""
    num_cubes: int = 1
    """Cubes on the table."""
    lamp_delay_steps: tuple[int, int] | None = None
    """Least and most steps of darkness between the last flash and the yellow light; None: no light at all."""
    mistake: Stage | None = None
    """What must never be achieved: from then on the episode cannot succeed any more."""

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigurationError("Task.max_steps", got=self.max_steps, allowed="1 or more")
        if not self.plan:
            raise ConfigurationError("Task.plan", got="no stage", allowed="one or more")

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages' names."""
        return tuple(stage.name for stage in self.plan)

    @property
    def gymnasium_id(self) -> str:
        """The name under which gymnasium.make knows it."""
        return f"foreact/{self.name.title().replace('_', '')}-v0"


def _sorting(index: int, cube: str) -> tuple[Stage, ...]:
    """The stages of bringing one cube to its bin, without the bin itself."""
    return (
        Stage(name=f"grasp {cube} cube", condition=held("right", cube)),
        Stage(name=f"lift {cube} cube", condition=raised("right", cube)),
        Stage(name=f"hand over {cube} cube", condition=held_alone("left", cube)),
        Stage(name=f"carry {cube} cube to its bin", condition=above_bin(index, cube)),
    )


_ALL = (
    Task(
        name="reach_cube",
        instruction="Reach for the white cube with the right arm.",
        max_steps=200,
        plan=(
            Stage(name="approach", condition=tip_within("right", NEAR_M)),
            Stage(name="reach", condition=tip_within("right", REACH_M)),
            Stage(name="hold", condition=tip_within("right", REACH_M), num_steps=10),
        ),
    ),
    Task(
        name="lift_cube",
        instruction="Pick up the white cube with the right arm.",
        max_steps=300,
        plan=(
            Stage(name="reach", condition=tip_within("right", REACH_M)),
            Stage(name="grasp", condition=held("right")),
            Stage(name="lift", condition=raised("right")),
            Stage(name="hold", condition=raised("right"), num_steps=15),
        ),
    ),
    Task(
        name="transfer_cube",
        instruction="Pick up the white cube with the right arm and hand it over to the left arm.",
        max_steps=500,
        plan=(
            Stage(name="grasp", condition=held("right")),
            Stage(name="lift", condition=raised("right")),
            Stage(name="both hands", condition=held_by_both()),
            Stage(name="hand over", condition=held_alone("left")),
            Stage(name="hold", condition=held_alone("left"), num_steps=25),
        ),
    ),
    Task(
        name="point_at_bin",
        instruction="Remember the colour of the lamp. When it turns yellow, point at the bin of that colour with the "
        "left arm.",
        max_steps=150 + LONGEST_DELAY_STEPS,
        lamp_delay_steps=(50, LONGEST_DELAY_STEPS),
        plan=(
            Stage(name="approach the bins", condition=points_at_any_bin()),
            Stage(name="point at its bin", condition=points_at_bin(), num_steps=15),
        ),
        mistake=Stage(name="point at another bin", condition=points_at_another_bin(), num_steps=15),
    ),
    Task(
        name="remember_bin",
        instruction="Remember the colour of the lamp. When it turns yellow, hand the white cube to the left arm and "
        "put it into the bin of that colour.",
        max_steps=660 + LONGEST_DELAY_STEPS,
        lamp_delay_steps=(15, LONGEST_DELAY_STEPS),
        plan=(
            *_sorting(0, "white"),
            Stage(name="in its bin", condition=all_in_bins(("white",)), num_steps=5),
        ),
    ),
    Task(
        name="remember_bin_two",
        instruction="Remember the two colours of the lamp. When it turns yellow, hand the white cube to the left arm "
        "and put it into the bin of the first colour, then the purple cube into the bin of the second colour.",
        max_steps=1210 + LONGEST_DELAY_STEPS,
        num_cubes=2,
        lamp_delay_steps=(15, LONGEST_DELAY_STEPS),
        plan=(
            *_sorting(0, "white"),
            Stage(name="white cube in its bin", condition=in_bin(0, "white"), num_steps=5),
            *_sorting(1, "purple"),
            Stage(name="both in their bins", condition=all_in_bins(("white", "purple")), num_steps=5),
        ),
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        UnknownNameError: There is none; the message lists the names there are.
    """
    if name not in TASKS:
        raise UnknownNameError("task", str(name), TASKS)
    return TASKS[name]
