"""Replays a recorded rollout of the published program and says how far every tensor of ours is from the recording.

A recording is a folder of the published layout with `trace.json` (settings) and `trace.safetensors`: frames and noise
go in; embeddings, latents, the network's raw output and the actions come out.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from foreact.embodiments import ActionCodec, CameraLayout, Dof, Embodiment, QuantileNormalizer, Timing
from foreact.embodiments.actions import NUM_CHANNELS
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.inference import InferenceConfig
from foreact.policy.policy import Policy
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Rollout
from foreact.policy.together import Kind, Together
from foreact.policy.trained import TrainedFor
from foreact.settings import from_plain

SETTINGS_FILE, TENSORS_FILE = "trace.json", "trace.safetensors"
VAE_FACTOR = 4
"""Camera frames per latent frame of Wan2.2's VAE."""
EPSILON = 1e-6
"""Added to the range of each channel by the published program."""
NO_STATE = np.zeros(0, np.float32)
"""The published weights know nothing of the robot's posture."""


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """What `trace.json` holds."""

    prompt: str
    cameras: tuple[str, ...]
    height: int
    width: int
    camera_layout: str
    latent_frames_per_chunk: int
    actions_per_latent_frame: int
    video_steps: int
    action_steps: int
    video_steps_executed: int
    """-1: all of them."""
    guidance_scale: float
    action_guidance_scale: float
    video_shift: float
    action_shift: float
    attention_window: int
    """In half-chunks."""
    used_action_channels: tuple[int, ...]
    """Universal channel of each physical action."""
    q01: tuple[float, ...]
    q99: tuple[float, ...]
    chunks: int
    video_sigmas: tuple[float, ...]
    """Noise levels, 1 - flow time, of every video step."""
    action_sigmas: tuple[float, ...]

    @property
    def inference(self) -> InferenceConfig:
        """Return how the recorded program computed its chunks."""
        executed = self.video_steps_executed
        return InferenceConfig(
            latent_frames_per_chunk=self.latent_frames_per_chunk,
            window=max(1, self.attention_window // 2 * self.latent_frames_per_chunk),
            video_steps=self.video_steps,
            action_steps=self.action_steps,
            video_guidance=self.guidance_scale,
            action_guidance=self.action_guidance_scale,
            video_steps_executed=None if executed == -1 else executed,
            trained=TrainedFor(first_frame="chunk", video_shift=self.video_shift, action_shift=self.action_shift),
        )

    @property
    def codec(self) -> ActionCodec:
        """Return the recorded robot: actions straight into channels, frames resized as there."""
        stride, rest = divmod(self.actions_per_latent_frame, VAE_FACTOR)
        if rest:
            raise ConfigurationError(
                "actions_per_latent_frame", got=self.actions_per_latent_frame, allowed=f"a multiple of {VAE_FACTOR}"
            )
        embodiment = Embodiment(
            name="recorded",
            description="The robot of a recording.",
            dofs=tuple(Dof(name=f"action {n}") for n in range(len(self.used_action_channels))),
            arms=(),
            channels=self.used_action_channels,
            layout=CameraLayout(
                kind=self.camera_layout,  # type: ignore[arg-type]
                cameras=self.cameras,
                height=self.height,
                width=self.width,
                resampling="bilinear",
            ),
            timing=Timing(
                camera_stride=stride,
                vae_factor=VAE_FACTOR,
                latent_frames_per_chunk=self.latent_frames_per_chunk,
            ),
        )
        mask = np.isin(np.arange(NUM_CHANNELS), self.used_action_channels)
        normalizer = QuantileNormalizer(q01=np.array(self.q01), q99=np.array(self.q99), mask=mask, epsilon=EPSILON)
        return ActionCodec(embodiment=embodiment, normalizer=normalizer)


class Recording:
    """A folder's settings and tensors."""

    def __init__(self, folder: Path):
        """Read both.

        Raises:
            CheckpointError: A file is missing, damaged, or lacks something.
        """
        self.folder = folder
        self.settings = _read_settings(folder / SETTINGS_FILE)
        path = folder / TENSORS_FILE
        try:
            self.tensors: Mapping[str, Tensor] = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"recording {path}", got=str(error), cure="fetch the folder again") from error

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor.

        Raises:
            CheckpointError: The recording lacks it.
        """
        if name not in self.tensors:
            raise CheckpointError(f"recording {self.folder / TENSORS_FILE}", got=f"no tensor {name!r}")
        return self.tensors[name]

    def shaped(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor of this shape.

        Raises:
            CheckpointError: The recording lacks it, or has it in another shape.
        """
        tensor = self[name]
        if tuple(tensor.shape) != tuple(shape):
            raise CheckpointError(f"{name} of {self.folder}", got=tuple(tensor.shape), allowed=tuple(shape))
        return tensor

    def images(self, moment: str) -> dict[str, np.ndarray]:
        """Return what the cameras saw: `moment` is "init" or "chunkK"."""
        return {camera: self[f"frames.{moment}.{camera}"].numpy() for camera in self.settings.cameras}


@dataclass(frozen=True)
class Agreement:
    """One tensor compared."""

    name: str
    relative_error: float
    """norm(ours - recorded) / norm(recorded)."""


def replay(recording: Recording, policy: Policy) -> Iterator[Agreement]:
    """Yield the agreement of every recorded tensor, in the order in which they are computed.

    Args:
        recording: What the published program did.
        policy: The recording's weights under `recording.settings`.
    """
    settings = recording.settings
    yield from _schedules(settings, policy.config)
    for name, words in (("text.positive", settings.prompt), ("text.negative", "")):
        if name not in recording.tensors and not words and policy.config.rows == 1:
            continue  # without guidance the empty instruction is never read
        yield _agreement(recording, name, policy.networks.text_encoder.encode([words]).tokens)
    policy.predictor = listener = _Listener(policy.predictor, recording)
    session = policy.start(settings.prompt)
    policy.observe_first(session, recording.images("init"), NO_STATE)
    assert session.observed is not None
    yield _agreement(recording, "init_latent", session.observed[None])
    for number in range(settings.chunks):
        listener.begin(number)
        known = session.rollout.num_frames_at_head
        actions = policy.predict(session).actions
        for name, tensor in listener.heard.items():
            yield _agreement(recording, f"chunk{number}.{name}", tensor)
        by_channel = _by_channel(policy, actions, known)
        yield _agreement(recording, f"chunk{number}.actions", by_channel)
        name = f"chunk{number}.state_fed_back"
        executed = recording.shaped(name, by_channel.shape)
        if known:
            yield Agreement(name, _relative_error(by_channel[:, :known], executed[:, :known]))
        by_step = rearrange(executed[:, known:], "c f n -> (f n) c").numpy()
        policy.observe(session, recording.images(f"chunk{number}"), by_step)


def _schedules(settings: TraceSettings, config: InferenceConfig) -> Iterator[Agreement]:
    for name, times, sigmas in (
        ("video_sigmas", config.video_times, settings.video_sigmas),
        ("action_sigmas", config.action_times, settings.action_sigmas),
    ):
        num_steps = len(times) - 1
        if len(sigmas) < num_steps:
            raise CheckpointError(
                f"{name} of a recording", got=len(sigmas), allowed=f"one for each of {num_steps} steps"
            )
        yield Agreement(name, _relative_error(1 - torch.tensor(times[:-1]), torch.tensor(sigmas[:num_steps])))


def _by_channel(policy: Policy, actions: np.ndarray, known: int) -> Float[Tensor, "channels frames actions"]:
    """Return a chunk's physical actions as recorded; frames known beforehand have the middle of each range."""
    per_frame = policy.embodiment.timing.actions_per_latent_frame
    still = policy.codec.decode(np.zeros((known * per_frame, NUM_CHANNELS), np.float32))
    return rearrange(torch.from_numpy(np.concatenate([still, actions])), "(f n) c -> c f n", n=per_frame)


class _Listener(Predictor):
    """Starts each chunk from the recorded noise, and writes down what the recording holds."""

    def __init__(self, predictor: Predictor, recording: Recording):
        super().__init__(predictor.model, predictor.config, predictor.channel_mask)
        self._recording = recording

    def begin(self, number: int) -> None:
        self._number = number
        self.heard: dict[str, Tensor] = {}

    def _noise(self, kind: Kind, shape: tuple[int, ...], rollout: Rollout) -> Tensor:
        sizes, (_, frames, tokens, channels) = self.model.config, shape
        recorded = (1, channels, frames, tokens, 1)
        if kind == "video":
            recorded = (1, sizes.latent_channels, frames, *sizes.canvas)
        noise = self._recording.shaped(f"chunk{self._number}.noise.{kind}", recorded)
        return self._tokens(noise) if kind == "video" else rearrange(noise, "b c f n 1 -> b f n c").to(self.device)

    def _velocity(self, kind: Kind, together: Together, point: Tensor, flow_time: float) -> Tensor:
        name = f"first_{kind}_prediction"
        if name not in self.heard:
            # The recorded program runs every row in every step; an unguided stream of ours does not.
            raw = -together.run(kind, together.hold(kind, point), flow_time, rows=self.config.rows)[0]
            pattern = "b f n (c patch) -> b (f n patch) c" if kind == "video" else "b f n c -> b (f n) c"
            sizes = {"patch": self.model.config.patch_size**2} if kind == "video" else {}
            self.heard[name] = rearrange(raw, pattern, **sizes)
        velocity = super()._velocity(kind, together, point, flow_time)
        if kind == "video":
            times = self.config.video_times
            after = point + (times[times.index(flow_time) + 1] - flow_time) * velocity
            self.heard["video_latents"] = self._pictures(together.hold(kind, after))
        return velocity


def _agreement(recording: Recording, name: str, ours: Tensor) -> Agreement:
    return Agreement(name, _relative_error(ours.cpu(), recording.shaped(name, ours.shape)))


def _relative_error(ours: Tensor, recorded: Tensor) -> float:
    scale = recorded.double().norm()
    error = float((ours.double() - recorded.double()).norm() / (scale if scale > 0 else 1.0))
    return math.inf if math.isnan(error) else error  # a tolerance must not be met by what is no number


def _read_settings(path: Path) -> TraceSettings:
    try:
        return from_plain(TraceSettings, json.loads(path.read_text()), f"recording {path}")
    except OSError as error:
        raise CheckpointError(f"recording {path}", got=error.strerror, allowed="settings of a rollout") from error
    except (ValueError, RecursionError, ConfigurationError) as error:
        raise CheckpointError(f"recording {path}", got=str(error)) from error
