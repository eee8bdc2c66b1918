"""From camera frames to actions, step by step: encode, append, imagine, decode."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from foreact.codecs.pixels import pixels_from_frames
from foreact.codecs.video_vae import EncoderStream
from foreact.codecs.weights import digest_weights
from foreact.embodiments import ActionCodec, Embodiment
from foreact.embodiments.cameras import check_clip, check_pictures
from foreact.errors import ConfigurationError, InputError, UnknownNameError
from foreact.policy.committed import TRAIN, Committed
from foreact.policy.inference import CHOICES, InferenceConfig
from foreact.policy.instructions import UnknownInstructionWarning, unknown_instruction
from foreact.policy.networks import Networks
from foreact.policy.predictor import Predictor
from foreact.policy.rollout import Ahead, Prediction
from foreact.policy.session import Session
from foreact.policy.storage.checkpoint import save_policy
from foreact.policy.storage.upload import push
from foreact.trace import Trace, span_all
from foreact.types import ActionChunk

Images = Mapping[str, UInt8[np.ndarray, "_time _height _width 3"]]


class Policy:
    """Drives one kind of robot. `start` a session, then `observe` and `predict` in turn."""

    def __init__(
        self,
        networks: Networks,
        codec: ActionCodec,
        config: InferenceConfig,
        *,
        instructions: tuple[str, ...] = (),
    ):
        """Put a policy together.

        Args:
            networks: Trained.
            codec: The robot, and the normalisation its actions were trained with.
            config: How chunks are computed.
            instructions: What it was trained on, word for word; none: that was not recorded, or they are too many.

        Raises:
            ConfigurationError: The parts do not fit each other.
        """
        self.networks = networks
        self.codec = codec
        self.config = config
        self.instructions = instructions
        """What it was trained on, word for word; empty if that was not recorded."""
        self._has_warned = False
        _check_fit(networks, codec.embodiment)
        self.predictor = Predictor(networks.model, config, torch.from_numpy(codec.mask.copy()))

    def __repr__(self) -> str:
        """Return one line: the robot, the cameras, the size, what a chunk is."""
        weights = sum(parameter.numel() for parameter in self.networks.model.parameters())
        steps = f"{self.config.video_steps} video steps, " if self.config.trained.imagines else "no imagination, "
        return (
            f"Policy(robot={self.embodiment.name!r}, cameras={list(self.embodiment.cameras)}, "
            f"weights={weights / 1e6:.1f}M, chunk={self.actions_per_chunk} actions in {steps}"
            f"{self.config.action_steps} action steps, device={str(self.predictor.device)!r})"
        )

    @property
    def embodiment(self) -> Embodiment:
        """The robot this policy drives."""
        return self.codec.embodiment

    @property
    def actions_per_chunk(self) -> int:
        """Actions that `predict` returns (fewer the first time if the first frame stands in the first chunk)."""
        return self.config.latent_frames_per_chunk * self.embodiment.timing.actions_per_latent_frame

    def with_config(self, config: InferenceConfig) -> "Policy":
        """Return a policy of the same networks that computes its chunks otherwise."""
        return Policy(self.networks, self.codec, config, instructions=self.instructions)

    def save_pretrained(self, folder: Path | str, *, provenance: dict[str, Any] | None = None) -> None:
        """Write all that is needed to run the policy elsewhere; see `checkpoint.save_policy`."""
        save_policy(self, Path(folder), provenance=provenance or {})

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload what `save_pretrained` writes to "owner/name" on the hub; return its address."""
        return push(self, repository, private=private, token=token)

    def digest(self) -> str:
        """Return a short name of the network's weights."""
        return digest_weights(self.networks.model).hexdigest()

    def start(self, instruction: str, *, seed: int = 0, window: int | None = None) -> Session:
        """Return a session that has seen nothing yet.

        Warns once, with `UnknownInstructionWarning`, if the policy is known not to have been trained on an instruction.

        Args:
            instruction: What to do, in words.
            seed: Of all the noise its predictions start from.
            window: Latent frames of history kept, which take memory from the start; None: as the policy is configured.

        Raises:
            CapacityError: There is no memory left for it; the sessions there are go on.
        """
        self._warn_of(instruction)
        encode = self.networks.text_encoder.encode
        rollout = self.predictor.start(encode([instruction]), encode([""]), seed=seed, window=window)
        if self.predictor.device.type == "cuda":
            rollout.trace = Trace(torch.cuda.synchronize)
        streams = {camera: self.networks.vae.start_stream() for camera in self.embodiment.cameras}
        return Session(instruction=instruction, rollout=rollout, streams=streams)

    def _warn_of(self, instruction: str) -> None:
        """Warn of an unknown instruction, once a policy: a server's clients may send any number of them."""
        message = None if self._has_warned else unknown_instruction(instruction, self.instructions)
        if message is not None:
            self._has_warned = True
            warnings.warn(message, UnknownInstructionWarning, stacklevel=3)

    def observe_first(self, session: Session, images: Images, state: Float[np.ndarray, " state"]) -> None:
        """Take in the first camera frames and the robot's state.

        The cache begins with that latent frame and the actions that would hold the robot where it is.

        Args:
            session: New; changed.
            images: One frame per camera, uint8 [1, height, width, 3].
            state: The robot's own units.

        Raises:
            InputError: Not exactly one frame, a camera is missing, or numbers are not finite.
        """
        if session.initial_pose is not None:
            raise InputError("first observation", got="a session that already has one", cure="use observe()")
        pose, held = self._standstill(state)
        self._check_counts(images, 1, len(held))
        self._append([session], [images], [held[None]])
        session.initial_pose = pose

    def _standstill(self, state: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Return the first pose, and in model units the actions said to have led to the first latent frame."""
        per_frame = self.embodiment.timing.actions_per_latent_frame
        if self.config.trained.first_frame == "chunk":  # the published weights know nothing of the robot's posture
            needed = self.embodiment.needs_initial_pose
            pose = self.embodiment.hold_action(state) if needed else np.zeros(self.embodiment.num_dofs)
            return pose, torch.zeros(per_frame, len(self.codec.mask))
        pose = self.embodiment.hold_action(state)
        return pose, torch.from_numpy(self.codec.encode(np.repeat(pose[None], per_frame, axis=0), pose))

    def observe(self, session: Session, images: Images, executed_actions: Float[np.ndarray, "time dofs"]) -> None:
        """Take in what the cameras saw while actions were executed; it replaces what was imagined.

        Args:
            session: Changed.
            images: Per camera the frames since the last call, uint8 [time, height, width, 3].
            executed_actions: What the robot was really told meanwhile, the robot's own units.

        Raises:
            InputError: Counts that do not make whole latent frames, missing cameras, or numbers that are not finite.
        """
        self.observe_together([session], [images], [executed_actions])

    def observe_together(
        self, sessions: Sequence[Session], images: Sequence[Images], executed_actions: Sequence[np.ndarray]
    ) -> None:
        """Take in what several robots saw and did: `observe` for each, in as few forwards as their counts allow.

        Args:
            sessions: All different; changed, or none of them if the input of any is refused.
            images: For each, as `observe`.
            executed_actions: For each, as `observe`.

        Raises:
            InputError: As `observe`, or a session that is there twice.
        """
        _check_distinct(sessions)
        seen = zip(sessions, images, executed_actions, strict=True)
        actions = [self._check_observed(session, shown, executed) for session, shown, executed in seen]
        self._append(sessions, images, actions)

    def _check_observed(self, session: Session, images: Images, executed_actions: np.ndarray) -> Tensor:
        """Return the executed actions in model units [frames, actions, channels]."""
        if session.initial_pose is None:
            raise InputError("observation", got="a new session", cure="call observe_first() once before")
        per_frame = self.embodiment.timing.actions_per_latent_frame
        num_frames = self._whole_frames(
            session, "executed actions", len(executed_actions), per_frame, cure="observe after every chunk"
        )
        self._check_counts(images, num_frames * self.embodiment.timing.vae_factor, len(executed_actions))
        return self._in_model_units(session, executed_actions)

    def _whole_frames(self, session: Session, what: str, count: int, per_frame: int, *, cure: str) -> int:
        """Return how many latent frames `count` camera frames or actions make: whole ones, a chunk at most."""
        num_frames, left_over = divmod(count, per_frame)
        if left_over or not num_frames:
            raise InputError(f"number of {what}", got=count, allowed=f"a multiple of {per_frame}")
        most = self.config.latent_frames_per_chunk - session.rollout.num_frames_at_head
        if num_frames > most:
            allowed = f"at most {most * per_frame}, one chunk"
            raise InputError(f"number of {what}", got=count, allowed=allowed, cure=cure)
        return num_frames

    def _in_model_units(self, session: Session, actions: np.ndarray) -> Tensor:
        """Return whole latent frames of actions, [frames, actions, channels]."""
        per_frame = self.embodiment.timing.actions_per_latent_frame
        return torch.from_numpy(self.codec.encode(actions, session.initial_pose)).unflatten(0, (-1, per_frame))

    def _check_counts(self, images: Images, expected: int, num_actions: int) -> None:
        check_pictures(images)
        counts = {}
        for camera in self.embodiment.cameras:
            if camera in images:
                check_clip(camera, images[camera])
                counts[camera] = len(images[camera])
        if any(count != expected for count in counts.values()):
            raise InputError(f"camera frames for {num_actions} actions", got=counts, allowed=expected)

    def _append(self, sessions: Sequence[Session], images: Sequence[Images], actions: Sequence[Tensor]) -> None:
        """Encode what was seen and append it with the actions, in model units."""
        rollouts = [session.rollout for session in sessions]
        with span_all((rollout.trace for rollout in rollouts), "encode"):
            observed = self._encode(sessions, images)
        self.predictor.append_observed_together(rollouts, observed, actions)
        for session, latents in zip(sessions, observed, strict=True):
            session.observed, session.prediction = latents, None

    def encode_frames(self, session: Session, images: Images) -> Float[Tensor, "channels frames height width"]:
        """Return the latents of new camera frames, laid out; the session's VAE streams move on."""
        return self._encode([session], [images])[0]

    def _encode(self, sessions: Sequence[Session], images: Sequence[Images]) -> list[Tensor]:
        layout, device = self.embodiment.layout, self.predictor.device
        pictures = [layout.pictures(shown) for shown in images]
        streams = [session.streams[camera] for session in sessions for camera in layout.cameras]
        pixels = [pixels_from_frames(clip).to(device) for shown in pictures for _, clip in shown]
        encoded = iter(EncoderStream.encode_together(streams, pixels))
        return [layout.assemble([next(encoded)[0] for _ in layout.cameras]) for _ in sessions]

    def predict(self, session: Session, committed: Committed | None = None) -> ActionChunk:
        """Return the next chunk of actions, within the robot's limits, and the future they were decoded from.

        Args:
            session: Its noise moves on; what it has observed stays as it is.
            committed: What the robot will do before the chunk takes effect; None: nothing, it stands still.

        Raises:
            InputError: Nothing has been observed yet, or what is committed makes no whole latent frames.
            ConfigurationError: The policy was not trained for what is committed.
        """
        return self.predict_together([session], [committed])[0]

    def predict_together(
        self, sessions: Sequence[Session], committed: Sequence[Committed | None] | None = None
    ) -> list[ActionChunk]:
        """Return the next chunk of several robots, computed as one batch: what `predict` returns for each.

        Args:
            sessions: All different, one or more; they may have started, and observed, at different times.
            committed: For each, as `predict`; None: nothing.

        Raises:
            InputError: One has observed nothing yet, or is there twice, or see `predict`.
            ConfigurationError: See `predict`.
        """
        _check_distinct(sessions)
        ahead = [
            self._ahead(session, decided)
            for session, decided in zip(sessions, committed or [None] * len(sessions), strict=True)
        ]
        predictions = self.predictor.predict_together([session.rollout for session in sessions], ahead)
        return [self._finish(session, made) for session, made in zip(sessions, predictions, strict=True)]

    def _ahead(self, session: Session, committed: Committed | None) -> Ahead | None:
        if session.initial_pose is None:
            raise InputError("prediction", got="a session without observations", cure="call observe_first() before")
        return None if committed is None else committed.ahead(self.codec, self.config, session.initial_pose)

    def _finish(self, session: Session, prediction: Prediction) -> ActionChunk:
        session.prediction = prediction
        decoded = self.codec.decode(prediction.actions.flatten(0, 1).numpy(), session.initial_pose)
        imagined, foreseen = prediction.latents, prediction.foreseen
        return ActionChunk(
            actions=self.embodiment.clip_actions(decoded),
            imagined_latents=None if imagined is None else imagined.numpy(),
            foreseen_latents=None if foreseen is None else foreseen.numpy(),
            stage_ms=session.rollout.trace.take(),
        )

    def imagine(self, session: Session) -> Float[Tensor, "channels frames height width"]:
        """Return the video of the next chunk alone, as latents: what `predict` would decode its actions from.

        Args:
            session: Its noise moves on; what it has observed stays as it is.

        Raises:
            InputError: Nothing has been observed yet.
            ConfigurationError: The policy does not imagine.
        """
        self._check_may_ask(session)
        return self.predictor.imagine(session.rollout)

    def foresee(
        self, session: Session, actions: Float[np.ndarray, "time dofs"]
    ) -> Float[Tensor, "channels frames height width"]:
        """Return the video that given actions lead to, as latents (forward dynamics).

        Args:
            session: Its noise moves on; what it has observed stays as it is.
            actions: Of whole latent frames, a chunk at most; the robot's own units.

        Raises:
            InputError: Nothing has been observed yet, or actions that it cannot take.
            ConfigurationError: The policy does not imagine, or was not trained for forward dynamics.
        """
        self._check_may_ask(session)
        if not self.config.trained.forward_dynamics:
            raise ConfigurationError(
                "policy trained for forward_dynamics", got="False", allowed="True", cure=f"for foresee(), {TRAIN}"
            )
        per_frame = self.embodiment.timing.actions_per_latent_frame
        self._whole_frames(session, "actions", len(actions), per_frame, cure="foresee one chunk")
        return self.predictor.foresee(session.rollout, self._in_model_units(session, actions))

    def infer_actions(self, session: Session, images: Images) -> Float[np.ndarray, "time dofs"]:
        """Return the actions that lead through given camera frames, within the robot's limits (inverse dynamics).

        Args:
            session: Its noise moves on; what it has observed, and its cameras' streams, stay as they are.
            images: Per camera the frames to be led through, the first one a camera period after the last observed:
                uint8 [time, height, width, 3], of whole latent frames, a chunk at most.

        Raises:
            InputError: Nothing has been observed yet, counts that do not make whole latent frames, or missing cameras.
            ConfigurationError: The policy does not imagine: its actions do not look at where they lead.
        """
        self._check_may_ask(session)
        for camera in self.embodiment.cameras:
            if camera in images:  # a missing one is named where the pictures are laid out
                per_frame = self.embodiment.timing.vae_factor
                self._whole_frames(
                    session, "camera frames", len(images[camera]), per_frame, cure="give one chunk at a time"
                )
        twin = replace(session, streams={camera: stream.copy() for camera, stream in session.streams.items()})
        latents = self.encode_frames(twin, images)
        actions = self.predictor.infer_actions(session.rollout, latents)
        decoded = self.codec.decode(actions.flatten(0, 1).numpy(), session.initial_pose)
        return self.embodiment.clip_actions(decoded)

    def _check_may_ask(self, session: Session) -> None:
        if session.initial_pose is None:
            raise InputError("question", got="a session without observations", cure="call observe_first() before")
        if not self.config.trained.imagines:
            raise ConfigurationError(
                "policy to be asked about video",
                got="a reactive one: its actions come straight from what it sees",
                allowed="one that imagines",
                cure="load one that does, or train one with batch.imagines",
            )

    def accept_imagined(self, session: Session) -> None:
        """Open loop: take the predicted chunk for what happened, instead of observing.

        Raises:
            InputError: There is no prediction, or nothing was imagined.
        """
        prediction = session.prediction
        if prediction is None or prediction.latents is None:
            raise InputError("open loop", got="nothing imagined", cure="call predict() of a policy that imagines")
        self.predictor.append_observed(session.rollout, prediction.latents, prediction.actions)
        session.prediction = None


def with_settings(policy: Policy, **changes: Any) -> Policy:
    """Return the policy with some inference settings changed, for example `with_settings(policy, video_steps=3)`.

    Raises:
        UnknownNameError: No such setting, or one that training decided (`TrainedFor`).
        ConfigurationError: Settings that do not go together.
    """
    for name in changes:
        if name not in CHOICES:
            raise UnknownNameError("inference setting", name, CHOICES)
    return policy.with_config(replace(policy.config, **changes))


def _check_distinct(sessions: Sequence[Session]) -> None:
    if not sessions or len({id(session) for session in sessions}) < len(sessions):
        raise InputError("sessions of a batch", got=f"{len(sessions)}", allowed="one or more, each once")


def _check_fit(networks: Networks, embodiment: Embodiment) -> None:
    sizes, vae = networks.model.config, networks.vae
    fits = [
        ("latent channels", vae.num_channels, sizes.latent_channels),
        ("latent canvas", embodiment.layout.canvas_shape(vae.spatial_factor), tuple(sizes.canvas)),
        ("camera frames per latent frame", vae.temporal_factor, embodiment.timing.vae_factor),
        (
            "actions per latent frame",
            embodiment.timing.actions_per_latent_frame,
            sizes.actions_per_latent_frame,
        ),
        ("text width", networks.text_encoder.dim, sizes.text_dim),
    ]
    for what, got, allowed in fits:
        if got != allowed:
            raise ConfigurationError(
                f"{what} of {embodiment.name!r}", got=got, allowed=f"{allowed}, as the network was made for"
            )
