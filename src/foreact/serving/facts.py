"""What the server says of itself and its policy as soon as a client is connected."""

from dataclasses import asdict
from pathlib import Path

from foreact.control.protocol import VERSION, Facts
from foreact.embodiments import Embodiment
from foreact.errors import ConfigurationError
from foreact.policy.controllers import MODES, check_mode
from foreact.policy.policy import Policy
from foreact.serving.config import ServerConfig

_LIMITS = ("low", "high", "velocity", "acceleration")


def describe_policy(policy: Policy, config: ServerConfig) -> Facts:
    """Return the facts."""
    embodiment, timing = policy.embodiment, policy.embodiment.timing
    layout = embodiment.layout
    sizes = zip(layout.cameras, layout.picture_sizes, strict=True)
    return Facts(
        version=VERSION,
        policy=Path(config.name).name,  # of a folder, the last part: where it lies is nobody else's business
        digest=policy.digest(),
        embodiment=embodiment.name,
        action_names=list(embodiment.dof_names),
        action_units=[dof.unit for dof in embodiment.dofs],
        motion_limits={name: [getattr(dof, name) for dof in embodiment.dofs] for name in _LIMITS},
        unlimited_actions=list(embodiment.unlimited_dofs),
        state_names=list(embodiment.state_names or embodiment.dof_names),
        state_is_action=_state_is_action(embodiment),
        cameras={camera: list(size) for camera, size in sizes},
        action_hz=timing.action_hz,
        camera_stride=timing.camera_stride,
        actions_per_latent_frame=timing.actions_per_latent_frame,
        latent_frames_per_chunk=policy.config.latent_frames_per_chunk,
        modes=[mode for mode in MODES if _knows(policy, mode)],
        limits={name: float(value) for name, value in asdict(config.limits).items()},
    )


def chunk_bytes(policy: Policy) -> int:
    """Return the bytes of one chunk's pictures, of all cameras at the sizes that the policy sees."""
    embodiment, frames_per_latent = policy.embodiment, policy.embodiment.timing.vae_factor
    num_frames = policy.config.latent_frames_per_chunk * frames_per_latent
    return num_frames * sum(3 * height * width for height, width in embodiment.layout.picture_sizes)


def _knows(policy: Policy, mode: str) -> bool:
    try:
        check_mode(policy, mode)
    except ConfigurationError:
        return False
    return True


def _state_is_action(embodiment: Embodiment) -> bool:
    """Whether commands are absolute and in the state's own entries."""
    absolute = all(arm.representation == "absolute" for arm in embodiment.arms)
    return absolute and not embodiment.channels and not embodiment.state_names
