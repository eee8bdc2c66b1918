"""LeRobot's batches as foreact takes them: pictures as bytes, and windows of episodes as training sequences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from foreact.codecs.pixels import pixels_from_frames
from foreact.codecs.video_vae import VideoVAE
from foreact.data.batch import TrainingSequence
from foreact.data.sequences import make_sequence
from foreact.embodiments import ActionCodec, CameraLayout
from foreact.errors import InputError
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from lerobot_policy_foreact.configuration_foreact import CAMERAS_CURE


def read_pictures(batch: Mapping[str, Any], camera_keys: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return camera name to uint8 [..., height, width, 3] of LeRobot's [..., 3, height, width] in [0, 1].

    Raises:
        InputError: A picture is missing, or its numbers are outside.
    """
    if missing := [key for key in camera_keys.values() if key not in batch]:
        raise InputError(
            "pictures of the batch",
            got=f"no {', '.join(missing)}",
            allowed=", ".join(key for key in batch if key.startswith("observation.")),
            cure=CAMERAS_CURE,
        )
    return {camera: _bytes(batch[key], key) for camera, key in camera_keys.items()}


def _bytes(picture: Tensor, key: str) -> np.ndarray:
    if picture.dtype != torch.uint8:
        if not ((picture >= 0) & (picture <= 1)).all():  # so that it refuses NaN, too
            raise InputError(f"pictures {key!r}", got="numbers outside", allowed="0 to 1, or uint8")
        picture = (picture * 255).round().to(torch.uint8)
    return rearrange(picture, "... rgb height width -> ... height width rgb").cpu().numpy()


def read_instructions(batch: Mapping[str, Any], num: int, instruction: str | None) -> list[str]:
    """Return what each of `num` robots is to do: as told by the settings, else by the batch's "task".

    Raises:
        InputError: Neither says it, or there are more or fewer tasks.
    """
    tasks = [instruction] * num if instruction is not None else batch.get("task")
    tasks = [tasks] * num if isinstance(tasks, str) else tasks
    if tasks is None or len(tasks) != num:
        raise InputError(
            "tasks of the batch",
            got=None if tasks is None else len(tasks),
            allowed=num,
            cure='say what to do with --policy.instruction="..."',
        )
    return list(tasks)


@dataclass(frozen=True)
class Window:
    """Rows of one episode from some row on, as if it had begun there."""

    actions: np.ndarray
    """[rows, dofs]: of an episode that ended, the last one is repeated."""
    state: np.ndarray
    """[entries], at the first row."""
    length: int
    """Rows until the episode ends, if it does within the window."""
    instruction: str

    def column(self, name: str) -> np.ndarray:
        """Return "action" or "observation.state", of which only the first row is known."""
        return self.actions if name == ACTION else self.state[None]


def training_sequences(
    batch: Mapping[str, Any],
    *,
    vae: VideoVAE,
    codec: ActionCodec,
    camera_keys: Mapping[str, str],
    instruction: str | None,
) -> list[TrainingSequence]:
    """Return one sequence per row of a batch: each window as an episode that began there.

    Its pictures are encoded now. What lies past an episode's end is left out, up to the last latent frame.

    Args:
        batch: With LeRobot's windows: pictures [batch, frames, 3, height, width], "observation.state" [batch, frames,
            entries], "action" [batch, rows, dofs], and their flags of padding.
        vae: Frozen.
        codec: The checkpoint's.
        camera_keys: Camera name to LeRobot's key.
        instruction: Instead of the batch's "task".

    Raises:
        InputError: A picture or a task is missing, or shapes are those of a policy without windows.
    """
    pictures = read_pictures(batch, camera_keys)
    num_frames = _check_windows(batch, pictures, codec)
    latents = encode(pictures, vae, codec.embodiment.layout)
    windows = _windows(batch, next(iter(camera_keys.values())), instruction)
    timing, sequences = codec.embodiment.timing, []
    for window, encoded in zip(windows, latents, strict=True):
        kept = min(num_frames, timing.latent_frames_in_episode(window.length))
        sequences.append(make_sequence(window, encoded[:, :kept], codec, executed_column=ACTION))
    return sequences


@torch.no_grad()
def encode(pictures: Mapping[str, np.ndarray], vae: VideoVAE, layout: CameraLayout) -> Tensor:
    """Return latents [batch, channels, frames, height, width] of clips uint8 [batch, time, height, width, 3]."""
    device, num = next(vae.parameters()).device, len(next(iter(pictures.values())))
    shown = [layout.pictures({camera: clip[row] for camera, clip in pictures.items()}) for row in range(num)]
    per_camera = []
    for number in range(len(layout.cameras)):
        pixels = torch.cat([pixels_from_frames(clips[number][1]) for clips in shown])
        per_camera.append(vae.encode(pixels.to(device)))
    return layout.assemble(per_camera).float().cpu()


def _check_windows(batch: Mapping[str, Any], pictures: Mapping[str, np.ndarray], codec: ActionCodec) -> int:
    """Return the latent frames of the windows."""
    timing, actions = codec.embodiment.timing, batch[ACTION]
    clips = {camera: clip.shape for camera, clip in pictures.items()}
    num_latent = 1 + actions.shape[1] // timing.actions_per_latent_frame if actions.ndim == 3 else 0
    expected = timing.num_camera_frames(num_latent) if num_latent > 1 else 0
    if not expected or any(len(shape) != 5 or shape[1] != expected for shape in clips.values()):
        raise InputError(
            "windows of the batch",
            got=f"actions {tuple(actions.shape)}, pictures {clips}",
            allowed="a picture every camera_stride actions, as the policy's delta indices say",
        )
    return num_latent


def _windows(batch: Mapping[str, Any], camera_key: str, instruction: str | None) -> list[Window]:
    actions, states = batch[ACTION].float().cpu().numpy(), batch[OBS_STATE][:, 0].float().cpu().numpy()
    instructions = read_instructions(batch, len(actions), instruction)
    padded, ended = batch.get(f"{ACTION}_is_pad"), batch.get(f"{camera_key}_is_pad")
    windows = []
    for row, (own, state, told) in enumerate(zip(actions, states, instructions, strict=True)):
        length = len(own) if padded is None else int((~padded[row]).sum())
        if length == len(own) and not (ended is not None and ended[row, -1]):
            length += 1  # the row of the last picture, which has no action here
        windows.append(Window(own, state, length, told))
    return windows
