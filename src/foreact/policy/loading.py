"""From files to a policy: shipped, in a folder, on the hub, or published weights."""

from pathlib import Path

import torch

from foreact.embodiments import ActionCodec
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.inference import InferenceConfig
from foreact.policy.policy import Policy
from foreact.policy.storage.assembly import StoredNetworks, build_networks
from foreact.policy.storage.checkpoint import find_policy, open_policy
from foreact.policy.storage.hub import WAN
from foreact.policy.storage.placement import IN_MEMORY, Placement, Precision, Quantization, TextPlace
from foreact.policy.storage.published import (
    is_published_layout,
    open_published,
    open_published_networks,
    published_names,
    published_settings,
)
from foreact.transformer.compilation import compile_layers


def load(
    name_or_path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: Precision = "stored",
    quantize: Quantization = "none",
    text_encoder: TextPlace = "keep",
    offload: bool = False,
    settings: str | Path | None = None,
    revision: str | None = None,
    compile: bool = False,
) -> Policy:
    """Return a policy: shipped with the package, in a folder, or on the hub.

    Args:
        name_or_path: A shipped name, a folder, or "owner/name" on the hub: a policy saved by foreact, or weights in
            the published layout.
        device: Where it computes.
        dtype: Of weights and arithmetic; "stored": as in the files.
        quantize: Hold the transformer's matrices in 8 bits: "int8" or "fp8".
        text_encoder: Where a large text encoder stays; see `Placement`.
        offload: Keep the transformer's layers on the CPU and bring them to the device one by one.
        settings: For published weights: the robot they drive, as the name of released weights or a JSON file; by
            default what the last part of `name_or_path` names.
        revision: Branch, tag or commit on the hub.
        compile: Compile the transformer's layers: each shape when it first comes by, or all of them beforehand by
            `foreact.policy.compiled.warm_up`. Pays on CUDA, not on a CPU.

    Raises:
        CheckpointError: There is no such policy (those that ship are listed), it is damaged, or does not fit.
        ConfigurationError: Options that cannot be.
    """
    placement = Placement(
        device=str(device), dtype=dtype, quantize=quantize, text_encoder=text_encoder, offload=offload
    )
    if str(name_or_path) == WAN:  # said before thirty gigabytes are fetched
        cure = f"make a policy to be trained: foreact init --preset wan5b --from {WAN} --out DIR"
        raise CheckpointError("policy", got=f"{WAN}, which knows no actions", cure=cure)
    folder = find_policy(name_or_path, revision=revision)
    if is_published_layout(folder):
        robot = settings or _settings_of(str(name_or_path), folder)
        policy = load_published(folder, *published_settings(robot), placement=placement)
    else:
        policy = load_policy(folder, placement=placement)
    if compile:
        compile_layers(policy.networks.model)
    return policy


def load_policy(folder: Path, *, placement: Placement = IN_MEMORY) -> Policy:
    """Return the policy stored in a folder, in evaluation mode.

    Raises:
        CheckpointError: A file is missing, truncated, or of another configuration, or there is too little memory.
    """
    stored = open_policy(folder)
    return _build_policy(stored.networks, stored.codec, stored.inference, placement, stored.instructions)


def load_published(
    folder: Path, codec: ActionCodec, inference: InferenceConfig, *, placement: Placement = IN_MEMORY
) -> Policy:
    """Return the policy whose weights are in a folder of the published layout.

    Args:
        folder: Holds `transformer/ vae/ text_encoder/ tokenizer/`.
        codec: The robot, and the normalisation its actions were trained with.
        inference: How chunks are computed.
        placement: How the networks are held in memory.

    Raises:
        CheckpointError: A part is missing or damaged, a tensor is missing, unknown or of another shape, or there is too
            little memory.
    """
    return _build_policy(open_published_networks(folder, codec), codec, inference, placement)


def _settings_of(name: str, folder: Path) -> str:
    last = Path(name).name.lower()
    if last in published_names():
        return last
    open_published(folder)  # what is incomplete, or Wan's own, is told so before it is asked for a robot
    raise CheckpointError(
        f"robot of the published weights in {name}",
        got="unknown: the folder does not say what it drives",
        allowed=f"settings=, a JSON file or one of: {', '.join(published_names())}",
    )


def _build_policy(
    stored: StoredNetworks,
    codec: ActionCodec,
    inference: InferenceConfig,
    placement: Placement,
    instructions: tuple[str, ...] = (),
) -> Policy:
    """Return the policy of stored networks, in evaluation mode; it was trained on these instructions.

    Raises:
        CheckpointError: As `build_networks`, or the networks do not fit each other or the robot.
    """
    networks = build_networks(stored, inference, placement)
    try:
        return Policy(networks, codec, inference, instructions=instructions)
    except ConfigurationError as error:
        raise CheckpointError(f"the policy in {stored.folder}", got=str(error)) from error
