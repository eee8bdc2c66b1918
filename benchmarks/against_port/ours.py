"""Our side: the same weights in our network, run by the library's own predictor."""

from dataclasses import replace

import torch
from einops import rearrange
from side import Clock, Turn
from torch import Tensor
from workload import ACTION_CHANNELS, LATENT_CHANNELS, TEXT_LENGTH, VIDEO_GUIDANCE, WORDS, Counts, Given, Size

from foreact.codecs.text import TextEmbedding
from foreact.policy.inference import InferenceConfig
from foreact.policy.predictor import Predictor
from foreact.policy.trained import TrainedFor
from foreact.transformer.model import TransformerConfig, WorldActionModel
from foreact.transformer.tokens import patchify
from foreact.transformer.weight_names import from_published


class GivenNoise(Predictor):
    """Starts every chunk from the same noise, and notes when the actions begin."""

    noise: dict[str, Tensor]
    clock: Clock
    actions_began = 0.0

    def _noise(self, kind, shape, rollout) -> Tensor:
        if kind == "action":
            self.actions_began = self.clock()
        return self.noise[kind]


class Ours:
    """Our predictor on the port's weights."""

    def __init__(self, size: Size, counts: Counts, given: Given, weights: dict[str, Tensor], clock: Clock):
        """Take the weights over by name."""
        self.counts, self.given, self._clock = counts, given, clock
        self.model = WorldActionModel(network_config(size, counts)).eval()
        renamed = (pair for name, tensor in weights.items() for pair in from_published(name, tensor))
        self.model.load_state_dict(dict(renamed))
        self._config = inference_config(counts)

    def passes(self, video_steps: int, action_steps: int) -> tuple[int, int]:
        """See `Side`: the video has one pass more, whose keys and values the actions read."""
        return video_steps + 1, action_steps

    def observe(self, num_chunks: int) -> None:
        """See `Side`."""
        mask = torch.arange(ACTION_CHANNELS) < self.counts.used_channels
        self.predictor = GivenNoise(self.model, self._config, mask)
        self.predictor.clock = self._clock
        self.predictor.noise = {
            "video": patchify(self.given.noise["video"], self.model.config.patch_size),
            "action": rearrange(self.given.noise["action"], "b c f n 1 -> b f n c"),
        }
        prompt = TextEmbedding(self.given.prompt, torch.tensor([WORDS]))
        self.rollout = self.predictor.start(prompt, TextEmbedding(self.given.empty, torch.tensor([1])), seed=0)
        still = torch.zeros(1, self.counts.actions, ACTION_CHANNELS)
        self.predictor.append_observed(self.rollout, self.given.first[0], still)
        for number in range(num_chunks):
            self._append(number)
        self._num_chunks = num_chunks

    def turn(self, video_steps: int, action_steps: int) -> Turn:
        """See `Side`."""
        self.predictor.config = replace(self._config, video_steps=video_steps, action_steps=action_steps)
        began = self._clock()
        prediction = self.predictor.predict(self.rollout)
        predicted = self._clock()
        assert prediction.latents is not None
        video_passes, action_passes = self.passes(video_steps, action_steps)
        return Turn(
            latents=self._with_known(prediction.latents[None], self.given.first),
            actions=self._with_known(rearrange(prediction.actions, "f n c -> 1 c f n 1"), self.given.seen[0][1]),
            video_ms=1e3 * (self.predictor.actions_began - began),
            action_ms=1e3 * (predicted - self.predictor.actions_began),
            append_ms=self._append_and_undo(),
            video_passes=video_passes,
            action_passes=action_passes,
        )

    def _with_known(self, predicted: Tensor, known: Tensor) -> Tensor:
        missing = self.counts.frames - predicted.shape[2]
        return torch.cat([known[:, :, :missing], predicted], dim=2)

    def _append(self, number: int) -> None:
        latents, actions = self.given.seen[number]
        new = rearrange(actions[0, ..., 0], "c f n -> f n c")[-latents.shape[2] :]
        self.predictor.append_observed(self.rollout, latents[0], new)

    def _append_and_undo(self) -> float:
        head, cache = self.rollout.head, self.rollout.cache
        num_observed = cache.num_observed
        began = self._clock()
        self._append(self._num_chunks)
        spent = self._clock() - began
        self.rollout.head, cache.num_observed = head, num_observed
        return 1e3 * spent


def network_config(size: Size, counts: Counts) -> TransformerConfig:
    """Return the published kind of network, both streams through one backbone, at this size."""
    return TransformerConfig(
        latent_channels=LATENT_CHANNELS,
        canvas=counts.canvas,
        actions_per_latent_frame=counts.actions,
        action_channels=ACTION_CHANNELS,
        video_width=size.width,
        action_width=size.width,
        num_layers=size.num_layers,
        num_heads=size.num_heads,
        video_ffn_dim=size.ffn_dim,
        action_ffn_dim=size.ffn_dim,
        text_dim=size.text_dim,
        backbone="shared",
        action_embedding="linear",
        text_length=TEXT_LENGTH,
    )


def inference_config(counts: Counts) -> InferenceConfig:
    """Return the published schedule; the window is as long as the port's cache, so neither side forgets."""
    return InferenceConfig(
        latent_frames_per_chunk=counts.frames,
        window=counts.pool_chunks * counts.frames,
        video_steps=counts.video_steps,
        action_steps=counts.action_steps,
        video_guidance=VIDEO_GUIDANCE,
        action_guidance=1.0,
        trained=TrainedFor(first_frame="chunk", video_shift=counts.video_shift, action_shift=counts.action_shift),
    )
