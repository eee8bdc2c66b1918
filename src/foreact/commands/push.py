"""`foreact push`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from foreact.commands.progress import bold, console, plain
from foreact.policy.storage.upload import push_folder


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Upload a policy to the Hugging Face hub, with its model card.

    Log in first: `hf auth login`. Nothing but the policy's own files is uploaded.

    Example: foreact push runs/mine my-name/my-policy --private
    """

    policy: Annotated[Path, tyro.conf.Positional]
    """Folder of a policy, or of the training run that it is in."""
    repository: Annotated[str, tyro.conf.Positional]
    """OWNER/NAME on the hub; made if it does not exist."""
    private: bool = False
    """Make a new repository one that only you can see."""
    license: str | None = None
    """Under which others may use your weights, as the hub writes it: mit, cc-by-4.0. By default the card names none."""


def run(settings: Settings) -> None:
    """Check that the policy is whole, upload it, and say where it is."""
    address = push_folder(settings.policy, settings.repository, private=settings.private, license_name=settings.license)
    console.print(f"The policy is at {bold(address)}: foreact.load({plain(repr(settings.repository))}).")
    if settings.license is None:
        console.print("Its card names no licence: others may look at it, and not use it. --license names one.")
