"""What a network was trained for: facts that training writes once, and that nothing at run time can change."""

from dataclasses import dataclass
from typing import Literal

from foreact.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class TrainedFor:
    """What a network learned to do. `Recipe.trained` derives it; a policy's `config.json` keeps it."""

    imagines: bool = True
    """False for a reactive policy: actions come straight from the history."""
    first_frame: Literal["history", "chunk"] = "history"
    """Place of the first observed latent frame: in the cache by itself, or at the head of the first chunk, which then
    imagines one latent frame less (the published weights)."""
    forward_dynamics: bool = False
    """Whether it learned to imagine where given actions lead."""
    action_prefixes: bool = False
    """Whether it learned to continue from actions that are already decided."""
    video_shift: float = 3.0
    """Time shift of the video's flow times. It tells which flow times the network has seen most of."""
    action_shift: float = 1.0
    """Time shift of the actions' flow times."""
    largest_chunk: int | None = None
    """Most latent frames per chunk it was trained on; None: not recorded, so any number may be tried."""
    few_steps: bool = False
    """The network was distilled (`foreact distill`): one step leads from noise to the end, and the schedules `one` and
    `two` may be used."""

    def __post_init__(self) -> None:
        for name in ("video_shift", "action_shift"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(name, got=getattr(self, name), allowed="above 0")
        if self.first_frame not in ("history", "chunk"):
            raise ConfigurationError("first_frame", got=self.first_frame, allowed="history, chunk")
        if self.largest_chunk is not None and self.largest_chunk < 1:
            raise ConfigurationError("largest_chunk", got=self.largest_chunk, allowed="1 or more, or none")
        if self.forward_dynamics and (not self.imagines or self.first_frame == "chunk"):
            raise ConfigurationError(
                "forward_dynamics",
                got=f"imagines {self.imagines}, first_frame {self.first_frame!r}",
                allowed="a policy that imagines, its first frame in the history",
            )
