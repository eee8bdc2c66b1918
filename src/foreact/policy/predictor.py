"""Imagine, then act, in model units: latents and normalised actions, no cameras and no robot.

Observed latent frames and executed actions go into the cache; a chunk of video is
integrated from noise to `s_stop`; its keys and values stay in the cache's scratch space; the chunk of actions is
integrated from noise to 1 while it sees them; then the imagined entries are dropped.

While actions are under way the history can be carried on beyond what was seen (`Ahead`): frames that they will lead to,
imagined or believed, are kept next to the observed ones while the next chunk is computed, and dropped with it.

Policies trained as the published weights were have the first observed latent frame at the head of the first chunk,
held at its observed value at flow time 1 while the rest is imagined.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from foreact.codecs.text import TextEmbedding
from foreact.errors import CapacityError
from foreact.flow.guidance import guide
from foreact.flow.solver import integrate
from foreact.policy.inference import InferenceConfig, cache_numbers
from foreact.policy.rollout import Ahead, KnownFrames, Prediction, Rollout
from foreact.policy.storage.placement import free_bytes
from foreact.policy.together import KINDS, Kind, Together
from foreact.trace import span_all
from foreact.transformer.cache import KVCache
from foreact.transformer.model import TextContext, WorldActionModel
from foreact.transformer.tokens import patchify, unpatchify

MOST_OF_FREE = 0.9
"""Of the free memory that a new session may take: the passes of those there are need some, too."""


class Predictor:
    """The network with a way to run it chunk by chunk."""

    def __init__(self, model: WorldActionModel, config: InferenceConfig, channel_mask: Tensor):
        """Keep the network; change nothing in it.

        Args:
            model: In evaluation mode.
            config: How chunks are computed.
            channel_mask: bool [action_channels]; the other channels are kept at zero, as in training.
        """
        self.model = model
        self.config = config
        self.channel_mask = channel_mask.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def _check_capacity(self, config: InferenceConfig) -> None:
        free, needed = free_bytes(str(self.device)), cache_numbers(self.model.config, config) * self._dtype.itemsize
        if needed > free * MOST_OF_FREE:
            raise CapacityError(
                f"memory for one more session on {self.device}",
                got=f"{free / 1e6:.0f} MB free",
                allowed=f"{needed / MOST_OF_FREE / 1e6:.0f} MB or more",
                cure="end a session, or load the policy with a shorter window or without guidance",
            )

    @torch.no_grad()
    def start(
        self, instruction: TextEmbedding, empty: TextEmbedding, *, seed: int, window: int | None = None
    ) -> Rollout:
        """Return a rollout that has seen nothing yet.

        Args:
            instruction: One embedded instruction.
            empty: The empty instruction, for guidance.
            seed: Of all its noise.
            window: Latent frames of history kept; None: as configured.

        Raises:
            CapacityError: There is no memory left for its cache; the rollouts there are go on.
        """
        sizes, rows = self.model.config, self.config.rows
        config = self.config if window is None else replace(self.config, window=window)
        self._check_capacity(config)
        cache = KVCache(
            num_layers=sizes.num_layers,
            batch=rows,
            num_heads=sizes.num_heads,
            head_dim=sizes.head_dim,
            window=config.window,
            video_tokens=sizes.video_tokens,
            action_tokens=sizes.action_tokens,
            scratch_frames=self.config.scratch_frames,
            device=self.device,
            dtype=self._dtype,
        )
        conditional = self._read_text([instruction])
        text = conditional if rows == 1 else self._read_text([instruction, empty])
        return Rollout(cache=cache, text=text, conditional=conditional, generator=torch.Generator().manual_seed(seed))

    def _read_text(self, embeddings: list[TextEmbedding]) -> TextContext:
        longest = max(e.tokens.shape[1] for e in embeddings)
        padded = [torch.nn.functional.pad(e.tokens, (0, 0, 0, longest - e.tokens.shape[1])) for e in embeddings]
        tokens = torch.cat(padded).to(self.device, self._dtype)
        return self.model.read_text(tokens, torch.cat([e.lengths for e in embeddings]).to(self.device))

    def append_observed(
        self,
        rollout: Rollout,
        latents: Float[Tensor, "channels frames height width"],
        actions: Float[Tensor, "frames actions action_channels"],
    ) -> None:
        """Put what was seen, and the actions executed on the way, into the cache; drop what was imagined."""
        self.append_observed_together([rollout], [latents], [actions])

    @torch.no_grad()
    def append_observed_together(
        self, rollouts: Sequence[Rollout], latents: Sequence[Tensor], actions: Sequence[Tensor]
    ) -> None:
        """Append to several rollouts what each saw and did, in as few forwards as their numbers of frames allow.

        Args:
            rollouts: All different.
            latents: For each [channels, frames, height, width].
            actions: For each [frames, actions, action_channels].
        """
        passing: dict[int, list[tuple[Rollout, KnownFrames]]] = defaultdict(list)
        for rollout, seen_latents, executed in zip(rollouts, latents, actions, strict=True):
            seen = KnownFrames(
                video=self._tokens(seen_latents[None]), action=executed[None].to(self.device, torch.float32)
            )
            if self.config.trained.first_frame == "chunk" and rollout.num_observed == 0:
                rollout.head = seen
                continue
            if rollout.head is not None:
                seen, rollout.head = rollout.head.followed_by(seen), None
            passing[seen.num_frames].append((rollout, seen))
        for num_frames, pairs in passing.items():
            self._append([rollout for rollout, _ in pairs], [seen for _, seen in pairs], num_frames)

    def _append(self, rollouts: list[Rollout], seen: list[KnownFrames], num_frames: int) -> None:
        together = Together(rollouts, self.model, num_frames)
        video, action = (torch.cat([getattr(frames, kind) for frames in seen]) for kind in ("video", "action"))
        with span_all((rollout.trace for rollout in rollouts), "append"):
            self._run_both(together, video, action)
        for rollout, last in zip(rollouts, action[:, -1, -1], strict=True):
            rollout.cache.append_observed(num_frames)
            rollout.last_action = last

    def _origins(self, last_actions: Sequence[Tensor | None]) -> Float[Tensor, "rollouts 1 1 action_channels"]:
        """Return what a chunk's actions are counted from: the last action before it, or zero (`relative_actions`)."""
        sizes = self.model.config
        zero = torch.zeros(sizes.action_channels, device=self.device)
        known = [zero if last is None or not sizes.relative_actions else last.to(self.device) for last in last_actions]
        return torch.stack(known)[:, None, None]

    def _run_both(self, together: Together, video: Tensor, action: Tensor, video_time: float = 1.0) -> None:
        """Leave keys and values of known frames where the caches keep what passed last."""
        rows, num = self.config.rows, len(together.rollouts)
        given = [(video, video_time), (action, 1.0)]
        inputs = [
            together.stream_input(kind, values, torch.full((num, 1), flow_time, device=self.device), rows)
            for kind, (values, flow_time) in zip(KINDS, given, strict=True)
        ]
        self.model(*inputs, together.text(rows), together.attention, num_wanted=(0, 0))

    def predict(self, rollout: Rollout, ahead: Ahead | None = None) -> Prediction:
        """Return the next chunk; the cache is left with nothing imagined."""
        return self.predict_together([rollout], [ahead])[0]

    @torch.no_grad()
    def predict_together(
        self, rollouts: Sequence[Rollout], ahead: Sequence[Ahead | None] | None = None
    ) -> list[Prediction]:
        """Return the next chunk of several rollouts, computed as one batch: what `predict` returns for each alone.

        Args:
            rollouts: All different, one or more; histories, instructions and frame numbers may differ.
            ahead: For each what is under way; None: nothing.
        """
        traces = [rollout.trace for rollout in rollouts]
        ahead = ahead or [None] * len(rollouts)
        origins = self._origins(
            [
                r.last_action if a is None or not a.num_frames else a.actions[-1, -1]
                for r, a in zip(rollouts, ahead, strict=True)
            ]
        )
        prefixes = [
            None if a is None or a.prefix is None else a.prefix.to(self.device, torch.float32) - origin[0]
            for a, origin in zip(ahead, origins, strict=True)
        ]
        latents: Tensor | None = None
        with _forgetting(rollouts):
            with span_all(traces, "look_ahead") if any(ahead) else nullcontext():
                foreseen = self._look_ahead(rollouts, ahead)
            together = Together(rollouts, self.model, self.config.latent_frames_per_chunk, prefixes=prefixes)
            if self.config.trained.imagines:
                with span_all(traces, "imagine"):
                    latents = self._imagine(together)
            with span_all(traces, "decode_actions"):
                actions = origins + self._decode_actions(together)
        # Nothing is fetched before all is on its way: a GPU works while Python runs ahead.
        actions, latents = actions.cpu(), None if latents is None else latents.cpu()
        predictions = []
        for row, rollout in enumerate(rollouts):
            new = slice(rollout.num_frames_at_head, None)
            imagined = None if latents is None else latents[row][:, new]
            seen = foreseen.get(row)
            predictions.append(
                Prediction(latents=imagined, actions=actions[row, new], foreseen=None if seen is None else seen.cpu())
            )
        return predictions

    @torch.no_grad()
    def imagine(self, rollout: Rollout) -> Float[Tensor, "channels frames height width"]:
        """Return the video of the next chunk and no actions: the one that `predict` decodes them from."""
        together = Together([rollout], self.model, self.config.latent_frames_per_chunk)
        _, guess = self._denoise_video(together)
        return self._pictures(guess)[0, :, rollout.num_frames_at_head :].cpu()

    @torch.no_grad()
    def foresee(
        self, rollout: Rollout, actions: Float[Tensor, "frames actions action_channels"]
    ) -> Float[Tensor, "channels frames height width"]:
        """Return the video that given actions lead to (forward dynamics)."""
        together = Together([rollout], self.model, len(actions))
        _, guess = self._foresee(together, actions[None].to(self.device, torch.float32))
        return self._pictures(guess)[0].cpu()

    @torch.no_grad()
    def infer_actions(
        self, rollout: Rollout, latents: Float[Tensor, "channels frames height width"]
    ) -> Float[Tensor, "frames actions action_channels"]:
        """Return the actions that lead through given video (inverse dynamics).

        It passes clean, as observed video does in training, so that the actions see what they were taught to see.
        """
        video = self._tokens(latents[None])
        if rollout.head is not None:
            video = torch.cat([rollout.head.video, video], dim=1)
        together = Together([rollout], self.model, video.shape[1])
        with _forgetting([rollout]):
            together.run("video", video, 1.0, rows=self.config.rows)
            rollout.cache.append_imagined(video.shape[1] * video.shape[2])
            actions = (self._origins([rollout.last_action]) + self._decode_actions(together))[0]
        return actions.cpu()[rollout.num_frames_at_head :]

    def _tokens(self, latents: Float[Tensor, "batch channels frames height width"]) -> Tensor:
        """Return the video tokens of latents, where the network is."""
        return patchify(latents.to(self.device), self.model.config.patch_size)

    def _pictures(self, tokens: Tensor) -> Float[Tensor, "batch channels frames height width"]:
        """Return the latents of video tokens."""
        return unpatchify(tokens, *self.model.config.canvas, self.model.config.patch_size)

    def _look_ahead(self, rollouts: Sequence[Rollout], ahead: Sequence[Ahead | None]) -> dict[int, Tensor]:
        """Carry histories on through the actions under way; return by row what was foreseen of them.

        What the chunk will see is what it would see had those frames been observed, so that nothing here is unlike
        training: first the frames, then the actions that led to them.
        """
        groups: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for row, decided in enumerate(ahead):
            if decided is not None and decided.num_frames:
                groups[decided.num_frames, decided.latents is None].append(row)
        foreseen: dict[int, Tensor] = {}
        for (num_frames, foresees), rows in groups.items():
            together = Together([rollouts[row] for row in rows], self.model, num_frames)
            chosen = [cast("Ahead", ahead[row]) for row in rows]
            actions = torch.stack([a.actions for a in chosen]).to(self.device, torch.float32)
            if foresees:
                video, guess = self._foresee(together, actions)
                foreseen.update(zip(rows, self._pictures(guess), strict=True))
            else:
                video = self._tokens(torch.stack([cast("Tensor", a.latents) for a in chosen]))
            self._run_both(together, video, actions, self.config.video_times[-1] if foresees else 1.0)
            for rollout in together.rollouts:
                rollout.cache.append_ahead(num_frames)
        return foreseen

    def _foresee(self, together: Together, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `_denoise_video` does, for the frames that given actions lead to (forward dynamics)."""
        origins = self._origins([rollout.last_action for rollout in together.rollouts])
        with _forgetting(together.rollouts):
            together.keep("action", actions - origins, 1.0, rows=self.config.rows)
            for rollout in together.rollouts:
                rollout.cache.append_imagined(actions.shape[1] * self.model.config.action_tokens)
            return self._denoise_video(together)

    def _imagine(self, together: Together) -> Float[Tensor, "rollouts channels frames height width"]:
        """Return guesses of the clean video; leave keys and values of the half-finished ones in the caches."""
        config = self.config
        point, guess = self._denoise_video(together)
        if config.video_steps_executed is None:
            together.keep("video", together.hold("video", point), config.s_stop, rows=config.rows)
        for rollout in together.rollouts:
            rollout.cache.append_imagined(point.shape[1] * point.shape[2])
        return self._pictures(together.hold("video", guess))

    def _denoise_video(self, together: Together) -> tuple[Tensor, Tensor]:
        """Return the half-finished video at the last flow time, and the clean one that its last velocity points to."""
        sizes = self.model.config
        shape = (1, together.num_frames, sizes.video_tokens, sizes.patch_features)
        guess = None

        def velocity(point: Tensor, flow_time: float) -> Tensor:
            nonlocal guess
            guided = self._velocity("video", together, point, flow_time)
            guess = point + (1 - flow_time) * guided
            return guided

        point = integrate(velocity, self._noises("video", shape, together), self.config.video_times)
        return point, point if guess is None else guess

    def _decode_actions(self, together: Together) -> Float[Tensor, "rollouts frames actions channels"]:
        """Return the actions that lead through what the caches show."""
        config, sizes = self.config, self.model.config
        shape = (1, together.num_frames, sizes.actions_per_latent_frame, sizes.action_channels)

        def velocity(point: Tensor, flow_time: float) -> Tensor:
            return self._velocity("action", together, point, flow_time) * self.channel_mask

        noise = self._noises("action", shape, together) * self.channel_mask
        return together.hold("action", integrate(velocity, noise, config.action_times))

    def _velocity(self, kind: Kind, together: Together, point: Tensor, flow_time: float) -> Tensor:
        """Return the (guided) velocities of the chunks at `point`; an unguided stream runs conditional rows alone."""
        scale = self.config.video_guidance if kind == "video" else self.config.action_guidance
        # If this pass's keys and values are to be kept, every row needs its own.
        keeps = kind == "video" and self.config.video_steps_executed is not None
        rows = self.config.rows if keeps else 1 if scale == 1 else 2
        velocity = together.run(kind, together.hold(kind, point), flow_time, rows=rows)
        return velocity[:, 0] if scale == 1 else guide(velocity[:, 0], velocity[:, 1], scale)

    def _noises(self, kind: Kind, shape: tuple[int, ...], together: Together) -> Tensor:
        return torch.cat([self._noise(kind, shape, rollout) for rollout in together.rollouts])

    def _noise(self, kind: Kind, shape: tuple[int, ...], rollout: Rollout) -> Tensor:
        return torch.randn(shape, generator=rollout.generator).to(self.device)


@contextmanager
def _forgetting(rollouts: Sequence[Rollout]) -> Iterator[None]:
    """Leave nothing imagined in the caches, whether what is done meanwhile succeeds or fails."""
    try:
        yield
    finally:
        for rollout in rollouts:
            rollout.cache.drop_imagined()
