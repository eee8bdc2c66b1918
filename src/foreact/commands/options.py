"""Settings that several commands share: each group is a box of its own in their help, its flags have no prefix."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.conf import OmitArgPrefixes
from tyro.constructors import PrimitiveConstructorSpec

from foreact.commands.progress import use_device
from foreact.errors import UnknownNameError
from foreact.policy.inference import InferenceConfig
from foreact.policy.schedules import SCHEDULES, get_schedule


class _Suggested(tuple[str, ...]):
    """Names that help and shell completion list; others are let through, for the command refuses them better."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return True


def named(names: Collection[str], *others: str) -> PrimitiveConstructorSpec[str]:
    """Return how a name from a registry is parsed: the annotation of a setting that is such a name.

    Args:
        names: The registry, or the names in it.
        others: What may be given instead of a name, for the help: "DIR".
    """
    listed = "{" + ",".join(names) + "}"
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join([listed, *others]),
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
        choices=_Suggested(names),
    )


def shipped_policies() -> list[str]:
    """Return the names of the policies that come with foreact."""
    folder = Path(str(files("foreact"))) / "checkpoints"
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


PolicyName = Annotated[str, named(shipped_policies(), "DIR", "OWNER/NAME")]
"""A policy that ships, a folder, or a repository on the hub."""


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Where it is computed."""

    device: str = "cpu"
    """cpu or cuda; cuda:1 for the second GPU."""
    threads: int | None = None
    """CPU threads; all by default."""

    def use(self) -> torch.device:
        """Return the device, and set the number of CPU threads.

        Raises:
            ConfigurationError: There is no such device here.
        """
        return use_device(self.device, self.threads)


@dataclass(frozen=True, kw_only=True)
class DenoisingOptions:
    """How much work goes into a chunk. By default the policy's own settings; single settings win over a schedule."""

    schedule: Annotated[str | None, named(SCHEDULES)] = None
    """Numbers of steps by name."""
    video_steps: int | None = None
    """Denoising steps of the video."""
    s_stop: float | None = None
    """Flow time at which imagining stops, 0 to 1."""
    action_steps: int | None = None
    """Denoising steps of the actions."""
    video_guidance: float | None = None
    """Guidance scale of the video; 1 is none, and halves its cost."""
    window: int | None = None
    """Latent frames of history."""
    latent_frames_per_chunk: int | None = None
    """K, the latent frames that are imagined at a time."""

    def check(self) -> None:
        """Refuse an unknown schedule before anything large is loaded.

        Raises:
            UnknownNameError: There is no such schedule; the message lists those there are.
        """
        if self.schedule is not None and self.schedule not in SCHEDULES:
            raise UnknownNameError("schedule", self.schedule, SCHEDULES)

    def changes(self) -> dict[str, Any]:
        """Return the single settings that were given, as fields of `InferenceChoices`."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "schedule"}
        return {name: value for name, value in given.items() if value is not None}

    def changes_to(self, config: InferenceConfig) -> dict[str, Any]:
        """Return all that is to be changed in a configuration: the schedule's settings, then the single ones."""
        schedule = {} if self.schedule is None else get_schedule(self.schedule).changes(config)
        return schedule | self.changes()


Machine = OmitArgPrefixes[MachineOptions]
Denoising = OmitArgPrefixes[DenoisingOptions]
