"""A policy made ready to be served: loaded, with room for actions under way, and warm."""

from functools import partial

import numpy as np
import torch

from foreact.policy.controllers import PolicyController, with_room
from foreact.policy.loading import load
from foreact.policy.policy import Policy
from foreact.policy.schedules import apply_schedule, get_schedule
from foreact.serving.computing import Question, compute
from foreact.types import Observation


def prepare(name: str, *, schedule: str | None, device: torch.device | str) -> Policy:
    """Return the policy, having computed a chunk for nobody.

    Args:
        name: Of a shipped policy, or a folder.
        schedule: Denoising steps by name; None: the policy's own.
        device: Where it computes.

    Raises:
        UnknownNameError: No such schedule.
        CheckpointError: The policy cannot be loaded.
    """
    if schedule is not None:
        get_schedule(schedule)  # an unknown one is told before anything large is loaded
    policy = with_room(apply_schedule(load(name, device=device), schedule))
    warm_up(policy)
    return policy


def warm_up(policy: Policy) -> None:
    """Compute a chunk for nobody: the first is slower than the rest, and no robot is to wait for that."""
    layout = policy.embodiment.layout
    sizes = zip(layout.cameras, layout.picture_sizes, strict=True)
    images = {camera: np.zeros((*size, 3), np.uint8) for camera, size in sizes}
    state = np.zeros(policy.embodiment.num_state_entries, np.float32)
    make = partial(PolicyController, policy, "", mode="synchronous")
    # A robot for which zeros are no state is refused, as any client's would be; then its first one warms up.
    compute([Question(controller=make, given=Observation(images=images, state=state, time_s=0.0))])
