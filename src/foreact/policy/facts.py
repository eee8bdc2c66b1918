"""What a policy on disk is, in a few lines: its configuration and the headers of its files, no weights."""

import math
from pathlib import Path
from typing import Any

from foreact.embodiments import Embodiment
from foreact.policy.inference import InferenceConfig
from foreact.policy.schedules import describe_steps
from foreact.policy.storage.checkpoint import CONFIG_FILE, open_networks, open_policy
from foreact.settings import read_json
from foreact.shards import TensorFolder

MOST_INSTRUCTIONS = 6
"""Shown of the instructions that a policy was trained on."""


def policy_facts(folder: Path) -> dict[str, str]:
    """Return what a policy drives, sees, was trained on and consists of, as name and text.

    Args:
        folder: Of a policy saved by foreact.

    Raises:
        CheckpointError: Its configuration or the header of one of its files is missing or damaged.
    """
    stored = open_policy(folder)
    robot, inference = stored.codec.embodiment, stored.inference
    provenance = read_json(folder / CONFIG_FILE).get("provenance")
    provenance = provenance if isinstance(provenance, dict) else {}
    networks = open_networks(stored)
    return {
        "policy": str(folder),
        **_robot_facts(robot, inference),
        "instructions": _instructions(stored.instructions),
        **{name: _size(tensors) for name, tensors in networks.items()},
        "run by default": f"{describe_steps(inference)}; {inference.window} latent frames of history",
        "trained": _training(provenance),
        "measured": str(provenance.get("results") or "nothing that is recorded with the weights"),
    }


def _robot_facts(robot: Embodiment, inference: InferenceConfig) -> dict[str, str]:
    timing = robot.timing
    sizes = zip(robot.cameras, robot.layout.picture_sizes, strict=True)
    actions = inference.latent_frames_per_chunk * timing.actions_per_latent_frame
    return {
        "robot": f"{robot.name}: {robot.description}",
        "cameras": ", ".join(f"{name} {height} x {width}" for name, (height, width) in sizes)
        + f", {timing.camera_hz:g} Hz",
        "actions": f"{robot.num_dofs} numbers at {timing.action_hz:g} Hz, {actions} a chunk "
        f"({actions / timing.action_hz:.2f} s)",
        "joints": ", ".join(f"{dof.name} ({dof.unit})" if dof.unit else dof.name for dof in robot.dofs),
    }


def _instructions(known: tuple[str, ...]) -> str:
    if not known:
        return "not recorded"
    more = f"; and {len(known) - MOST_INSTRUCTIONS} more" if len(known) > MOST_INSTRUCTIONS else ""
    return "; ".join(map(repr, known[:MOST_INSTRUCTIONS])) + more


def _size(tensors: TensorFolder) -> str:
    numbers = sum(math.prod(tensors.shape(name)) for name in tensors.names)
    kinds = sorted({str(tensors.dtype(name)).removeprefix("torch.") for name in tensors.names})
    return f"{numbers:,} weights, {tensors.num_bytes / 1e6:.1f} MB, {', '.join(kinds)}"


def _training(provenance: dict[str, Any]) -> str:
    scalars = {name: value for name, value in provenance.items() if isinstance(value, str | int | float)}
    details = ", ".join(f"{name} {value}" for name, value in scalars.items() if name != "results")
    return details or "not recorded"
