"""What a person can choose before an episode begins."""

from dataclasses import dataclass, fields

from foreact.errors import ForeactError, UnknownNameError, check_seed
from foreact.policy.controllers import MODES, ControlMode, check_mode
from foreact.policy.policy import Policy
from foreact.policy.schedules import apply_schedule
from foreact.simulation.disturbances import NAMES
from foreact.simulation.tasks import TASKS, get_task


@dataclass(frozen=True, kw_only=True)
class PlayChoices:
    """The settings of one episode. The same choices begin the same episode."""

    policy: str = "tiny-disturbed"
    """Name of a shipped policy, or a folder."""
    task: str = "lift_cube"
    """What the robot is to do: a name in `simulation.tasks.TASKS`."""
    seed: int = 1_000_000
    """Of the world and of the policy's noise."""
    controller: ControlMode = "synchronous"
    """When the policy looks and computes; "open_loop" never looks again after the first picture."""
    video_steps: int | None = None
    """Denoising steps of the imagined video; None: the policy's own."""
    s_stop: float | None = None
    """Flow time at which imagining stops, above 0 to 1 (finished); None: the policy's own."""
    action_steps: int | None = None
    """Denoising steps of the actions; None: the policy's own."""
    disturbance: str = "none"
    """What goes wrong by itself: a name in `simulation.disturbances.NAMES`."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        get_task(self.task)
        if self.disturbance not in NAMES:
            raise UnknownNameError("disturbance", self.disturbance, NAMES)

    def applied_to(self, policy: Policy) -> Policy:
        """Return the policy with the chosen denoising steps; a reactive policy has action steps only.

        Raises:
            ConfigurationError: Steps that cannot be, or a controller that the policy was not trained for.
        """
        check_mode(policy, self.controller)
        names = ("video_steps", "s_stop", "action_steps") if policy.config.trained.imagines else ("action_steps",)
        chosen = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if "video_steps" in chosen or "s_stop" in chosen:
            chosen["video_steps_executed"] = None
        return apply_schedule(policy, None, **chosen)


def possible_controllers(policy: Policy) -> tuple[str, ...]:
    """Return the controllers that the policy was trained for."""
    return tuple(mode for mode in MODES if _is_possible(policy, mode))


def possible_tasks(policy: Policy) -> tuple[str, ...]:
    """Return the tasks whose instruction the policy was trained on; all if that was not recorded."""
    known = tuple(name for name, task in TASKS.items() if task.instruction in policy.instructions)
    return known or tuple(TASKS)


def changed_names(before: PlayChoices, after: PlayChoices) -> tuple[str, ...]:
    """Return the names of the settings that differ."""
    return tuple(f.name for f in fields(PlayChoices) if getattr(before, f.name) != getattr(after, f.name))


def _is_possible(policy: Policy, mode: str) -> bool:
    try:
        check_mode(policy, mode)
    except ForeactError:
        return False
    return True
