"""LeRobot's port: its own transformer, denoising loops, caches and schedules; no VAE and no text encoder."""

from typing import Any
from unittest.mock import patch

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.lingbot_va.configuration_lingbot_va import LingBotVAConfig
from lerobot.policies.lingbot_va.modeling_lingbot_va import LingBotVAPolicy
from side import Clock, Turn
from torch import Tensor
from workload import ACTION_CHANNELS, VIDEO_GUIDANCE, Counts, Given, Size

NOISE = 0.02
"""Standard deviation added to every weight: none is left at zero or one, so every term counts."""


class Port:
    """The port's policy, given latents where it would encode pictures."""

    def __init__(self, size: Size, counts: Counts, given: Given, clock: Clock, *, seed: int):
        """Make the network with random weights."""
        self.counts, self.given, self._clock = counts, given, clock
        torch.manual_seed(seed)
        self.policy: Any = LingBotVAPolicy(_config(size, counts)).eval()
        with torch.no_grad():
            for weight in self.policy.transformer.parameters():
                weight.add_(torch.randn_like(weight), alpha=NOISE)
        self.policy._encode_frames = lambda frames: frames[0]  # the "frames" are latents already
        self.policy.transformer.register_forward_pre_hook(self._note_first_action_pass, with_kwargs=True)
        self._actions_began = 0.0

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of the transformer, by their published names."""
        return self.policy.transformer.state_dict()

    def passes(self, video_steps: int, action_steps: int) -> tuple[int, int]:
        """See `Side`: each stream has one pass more, at the end, whose keys and values are kept."""
        return video_steps + 1, action_steps + 1

    @torch.no_grad()
    def observe(self, num_chunks: int) -> None:
        """See `Side`."""
        self.policy.reset()
        self.policy._prompt_embeds, self.policy._negative_prompt_embeds = self.given.prompt, self.given.empty
        self.policy._init_latent = self.given.first
        self.policy._init_streaming_cache(self.given.first)
        for number in range(num_chunks):
            self._append(number)
        self._num_chunks = num_chunks

    @torch.no_grad()
    def turn(self, video_steps: int, action_steps: int) -> Turn:
        """See `Side`."""
        self.policy.config.num_inference_steps = video_steps
        self.policy.config.action_num_inference_steps = action_steps
        noise = [self.given.noise[kind].clone() for kind in ("video", "action")]
        began, self._actions_began = self._clock(), 0.0
        with patch("torch.randn", lambda *_, **__: noise.pop(0)):
            first = self.given.first if self._num_chunks == 0 else None
            actions, latents = self.policy._infer(first, frame_st_id=self.policy._frame_st_id)
        predicted = self._clock()
        video_passes, action_passes = self.passes(video_steps, action_steps)
        turned = Turn(
            latents=latents,
            actions=actions,
            video_ms=1e3 * (self._actions_began - began),
            action_ms=1e3 * (predicted - self._actions_began),
            append_ms=self._append_and_undo(),
            video_passes=video_passes,
            action_passes=action_passes,
        )
        assert not noise
        return turned

    def _append(self, number: int) -> None:
        latents, actions = self.given.seen[number]
        self.policy._compute_kv_cache([latents], actions.clone())

    def _append_and_undo(self) -> float:
        self.policy.transformer.clear_pred_cache("pos")
        caches = [block.attn1.attn_caches["pos"] for block in self.policy.transformer.blocks]
        books = [{name: cache[name].clone() for name in ("id", "mask", "is_pred")} for cache in caches]
        frame = self.policy._frame_st_id
        began = self._clock()
        self._append(self._num_chunks)
        spent = self._clock() - began
        self.policy._frame_st_id = frame
        for cache, book in zip(caches, books, strict=True):
            cache.update(book)  # keys and values lie in slots that were free: they stay there unseen
        return 1e3 * spent

    def _note_first_action_pass(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if kwargs["action_mode"] and self._actions_began == 0:
            self._actions_began = self._clock()


def _config(size: Size, counts: Counts) -> LingBotVAConfig:
    cameras = [f"observation.images.cam{number}" for number in range(counts.cameras)]
    picture = PolicyFeature(type=FeatureType.VISUAL, shape=(3, *counts.picture))
    return LingBotVAConfig(
        num_attention_heads=size.num_heads,
        attention_head_dim=size.head_dim,
        text_dim=size.text_dim,
        ffn_dim=size.ffn_dim,
        num_layers=size.num_layers,
        action_dim=ACTION_CHANNELS,
        input_features=dict.fromkeys(cameras, picture),
        output_features={},
        device="cpu",
        dtype="float32",
        obs_cam_keys=cameras,
        camera_layout=counts.layout,
        height=counts.picture[0],
        width=counts.picture[1],
        action_per_frame=counts.actions,
        frame_chunk_size=counts.frames,
        attn_window=2 * counts.pool_chunks,
        video_exec_step=-1,
        guidance_scale=VIDEO_GUIDANCE,
        action_guidance_scale=1.0,
        snr_shift=counts.video_shift,
        action_snr_shift=counts.action_shift,
        used_action_channel_ids=list(range(counts.used_channels)),
    )
