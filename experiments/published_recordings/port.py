"""LeRobot's port of the LingBot-VA inference program, driven from outside: noise goes in, all it makes comes out.

Its own `predict_action_chunk` runs: encoding, denoising loops, caches and schedules are LeRobot's. Three things are
hung on to it: `torch.randn` hands out the given noise, a forward hook keeps the network's first output of each kind,
and between chunks its two fields for what was observed and executed are filled as its `select_action` fills them.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.lingbot_va.configuration_lingbot_va import LingBotVAConfig
from lerobot.policies.lingbot_va.modeling_lingbot_va import LingBotVAPolicy
from lerobot.policies.lingbot_va.utils import WanTransformer3DModel
from lerobot.processor.normalize_processor import NormalizerProcessorStep
from lerobot.utils.constants import ACTION
from torch import Tensor

LAYOUTS = {"side_by_side": "width_concat", "t_shape": "robotwin_tshape"}
KINDS = ("video", "action")


class Port:
    """The program on one checkpoint under one set of settings."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        """Load the checkpoint, in float32 on the CPU."""
        self.settings = settings
        network = WanTransformer3DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float32)
        self.policy = LingBotVAPolicy(_config(folder, settings, network.config))
        self.policy.transformer = network.eval()
        self.policy.transformer.register_forward_hook(self._keep_first, with_kwargs=True)
        self.policy._ensure_frozen_modules()
        self.policy.reset()
        self._actions = _action_normalizer(settings)

    @torch.no_grad()
    def start(self, frames: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take in the first observation; return the embeddings of the prompt and of the empty one."""
        self._first = _observations(frames)[0]
        self.policy._maybe_init_prompt({"task": self.settings["prompt"]})
        negative = self.policy._negative_prompt_embeds
        if negative is None:  # without guidance the program has no use for it
            negative = self.policy._get_t5_prompt_embeds("", self.policy.config.max_sequence_length)
        return {"text.positive": self.policy._prompt_embeds, "text.negative": negative}

    @torch.no_grad()
    def predict(self, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what is recorded of the next chunk: raw outputs, latents, physical actions."""
        self._outputs: dict[str, Tensor] = {}
        with _noise_from(noise):
            self.policy.predict_action_chunk(self._first if self.policy._first_chunk else None)
        return self._outputs | {
            "video_latents": self.policy.last_predicted_latents,
            "actions": self._to_physical(self.policy._executed_actions),
        }

    def observe(self, frames: Mapping[str, Tensor], executed: Tensor) -> None:
        """Say what was seen and what was executed, in physical units [used channels, latent frames, actions]."""
        self.policy._obs_buffer = _observations(frames)
        self.policy._executed_actions = self._from_physical(executed)

    @property
    def init_latent(self) -> Tensor:
        """The first observation as the program encoded it."""
        return self.policy._init_latent

    @property
    def sigmas(self) -> dict[str, list[float]]:
        """The noise levels of the last chunk's schedules."""
        schedules = {"video_sigmas": self.policy._scheduler, "action_sigmas": self.policy._action_scheduler}
        return {name: scheduler.sigmas.tolist() for name, scheduler in schedules.items()}

    def _keep_first(self, module: torch.nn.Module, args: tuple, kwargs: dict[str, Any], output: Tensor) -> None:
        if kwargs["update_cache"] != 2:  # 2: reading what was observed
            name = f"first_{KINDS[kwargs['action_mode']]}_prediction"
            self._outputs.setdefault(name, output.clone())

    def _to_physical(self, actions: Tensor) -> Tensor:
        used = actions[0, list(self.settings["used_action_channels"]), :, :, 0]
        return self._actions._normalize_action(used.movedim(0, -1), inverse=True).movedim(-1, 0)

    def _from_physical(self, executed: Tensor) -> Tensor:
        channels = torch.zeros(1, self.policy.config.action_dim, *executed.shape[1:], 1)
        normalized = self._actions._normalize_action(executed.movedim(0, -1), inverse=False).movedim(-1, 0)
        channels[0, list(self.settings["used_action_channels"]), :, :, 0] = normalized
        return channels


def _config(folder: Path, settings: Mapping[str, Any], sizes: Mapping[str, Any]) -> LingBotVAConfig:
    network = ("num_attention_heads", "attention_head_dim", "text_dim", "freq_dim", "ffn_dim", "num_layers")
    picture = PolicyFeature(type=FeatureType.VISUAL, shape=(3, settings["height"], settings["width"]))
    return LingBotVAConfig(
        **{name: sizes[name] for name in network},
        input_features=dict.fromkeys(settings["cameras"], picture),
        output_features={},
        device="cpu",
        dtype="float32",
        wan_pretrained_path=str(folder),
        obs_cam_keys=list(settings["cameras"]),
        camera_layout=LAYOUTS[settings["camera_layout"]],
        height=settings["height"],
        width=settings["width"],
        action_per_frame=settings["actions_per_latent_frame"],
        frame_chunk_size=settings["latent_frames_per_chunk"],
        attn_window=settings["attention_window"],
        num_inference_steps=settings["video_steps"],
        video_exec_step=settings["video_steps_executed"],
        action_num_inference_steps=settings["action_steps"],
        guidance_scale=settings["guidance_scale"],
        action_guidance_scale=settings["action_guidance_scale"],
        snr_shift=settings["video_shift"],
        action_snr_shift=settings["action_shift"],
        used_action_channel_ids=list(settings["used_action_channels"]),
        save_predicted_video=True,
    )


def _action_normalizer(settings: Mapping[str, Any]) -> NormalizerProcessorStep:
    used = list(settings["used_action_channels"])
    quantiles = {name: torch.tensor(settings[name])[used] for name in ("q01", "q99")}
    return NormalizerProcessorStep(
        features={ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(len(used),))},
        norm_map={FeatureType.ACTION: NormalizationMode.QUANTILES},
        stats={ACTION: quantiles},
    )


def _observations(frames: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return one observation per moment, as LeRobot's environments hand them over: [1, 3, H, W] from 0 to 1."""
    moments = zip(*frames.values(), strict=True)
    return [
        {camera: (picture / 255).movedim(-1, 0)[None] for camera, picture in zip(frames, pictures, strict=True)}
        for pictures in moments
    ]


@contextmanager
def _noise_from(noise: Mapping[str, Tensor]):
    """Let `torch.randn` hand out the noise of the video, then that of the actions, and nothing more."""
    left = [noise[kind] for kind in KINDS]

    def randn(*shape: int, **_: Any) -> Tensor:
        given = left.pop(0)
        assert given.shape == shape, (given.shape, shape)
        return given.clone()

    with patch("torch.randn", randn):
        yield
    assert not left, "the program drew less noise than expected"
