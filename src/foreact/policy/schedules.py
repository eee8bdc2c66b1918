"""Schedules by name: how many denoising steps a chunk is computed in, how far it is imagined, and with what guidance.

A name changes these settings alone. Time shifts stay as in training, since they tell which flow times the network has
seen most of; the steps are spaced anew over [0, s_stop].
"""

from dataclasses import dataclass
from typing import Any

from foreact.errors import ConfigurationError, UnknownNameError
from foreact.flow.solver import euler_times
from foreact.policy.inference import InferenceConfig
from foreact.policy.policy import Policy, with_settings


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How much work goes into a chunk."""

    video_steps: int
    """Denoising steps of the video chunk."""
    s_stop: float | None
    """Flow time at which imagining stops, 0 to 1; None leaves the policy's own."""
    action_steps: int
    """Denoising steps of the action chunk."""
    video_guidance: float | None = None
    """Guidance scale of the video stream; None leaves the policy's own."""
    yields_to_published: bool = False
    """Whether a policy trained as the published ones were (first frame in the first chunk) keeps its own settings."""
    for_few_steps: bool = False
    """Whether only a policy that was trained to take so few steps may use it."""

    def __post_init__(self) -> None:
        euler_times(self.video_steps, stop=1.0 if self.s_stop is None else self.s_stop)
        euler_times(self.action_steps)

    def changes(self, config: InferenceConfig) -> dict[str, Any]:
        """Return the settings to change in a policy's own: none of them for what it does not do.

        Raises:
            ConfigurationError: The schedule is for distilled policies, and this is none that takes so few steps.
        """
        self._check_trained_for(config)
        if self.yields_to_published and config.trained.first_frame == "chunk":
            return {}
        if not config.trained.imagines:
            return {"action_steps": self.action_steps}
        guidance = config.video_guidance if self.video_guidance is None else self.video_guidance
        return {
            "video_steps": self.video_steps,
            "video_steps_executed": None,
            "s_stop": config.video_times[-1] if self.s_stop is None else self.s_stop,
            "action_steps": self.action_steps,
            "video_guidance": guidance,
        }

    def _check_trained_for(self, config: InferenceConfig) -> None:
        own = (config.video_steps if config.trained.imagines else 0, config.action_steps)
        takes_so_few = own[0] <= self.video_steps and own[1] <= self.action_steps
        if self.for_few_steps and not config.trained.few_steps and not takes_so_few:
            raise ConfigurationError(
                f"schedule of {self.video_steps} video and {self.action_steps} action steps",
                got=f"a policy whose own are {own[0]} and {own[1]}, and that was not distilled",
                allowed="a distilled policy: in one step others go to the mean of all that may happen",
                cure="distil it (foreact distill), or use `fast` or `turbo`",
            )


SCHEDULES: dict[str, Schedule] = {
    "exact": Schedule(video_steps=25, s_stop=1.0, action_steps=50, video_guidance=5.0, yields_to_published=True),
    "fast": Schedule(video_steps=3, s_stop=0.6, action_steps=10),
    "turbo": Schedule(video_steps=2, s_stop=0.6, action_steps=4),
    "two": Schedule(video_steps=2, s_stop=None, action_steps=1, for_few_steps=True),
    "one": Schedule(video_steps=1, s_stop=None, action_steps=1, for_few_steps=True),
}
"""`exact` as the release runs RoboTwin, and every published policy as it was published; `fast` as the paper stops
imagining early; `turbo` the fewest steps that are said to cost no success; `two` and `one`, named after their video
steps, are for policies made by `foreact distill`. Source: LingBot-VA (arXiv 2601.21998)."""


def get_schedule(name: str) -> Schedule:
    """Return the schedule of that name.

    Raises:
        UnknownNameError: There is none; the message lists those that there are.
    """
    if name not in SCHEDULES:
        raise UnknownNameError("schedule", name, SCHEDULES)
    return SCHEDULES[name]


def apply_schedule(policy: Policy, name: str | None, **changes: Any) -> Policy:
    """Return the policy on a named schedule; its networks are shared, and it is not changed.

    Args:
        policy: As it was loaded: what a schedule leaves alone, guidance for example, stays as it is found.
        name: One of `SCHEDULES`; None leaves the policy's own.
        changes: Fields of `InferenceChoices` that win over the schedule's.

    Raises:
        UnknownNameError: No such schedule.
        ConfigurationError: The changes do not go with the schedule.
    """
    settings = {} if name is None else get_schedule(name).changes(policy.config)
    return with_settings(policy, **{**settings, **changes})


def describe_steps(config: InferenceConfig) -> str:
    """Return in words the steps of a chunk, for example "3 video steps to s = 0.6, guidance 1; 10 action steps"."""
    actions = f"{config.action_steps} action steps"
    if not config.trained.imagines:
        return actions
    times = config.video_times
    return f"{len(times) - 1} video steps to s = {times[-1]:.2g}, guidance {config.video_guidance:g}; {actions}"
