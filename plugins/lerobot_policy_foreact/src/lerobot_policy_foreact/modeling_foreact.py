"""The policy as LeRobot runs and trains it: a foreact policy, its sessions, and foreact's own loss."""

import json
from pathlib import Path
from typing import Any, cast

import foreact
import numpy as np
import torch
from foreact.data.batch import SequenceSampler
from foreact.errors import ConfigurationError
from foreact.policy.networks import Networks
from foreact.policy.policy import Policy
from foreact.policy.schedules import apply_schedule
from foreact.policy.storage.checkpoint import CONFIG_FILE
from foreact.training.corruption import CorruptionConfig
from foreact.training.step import MODE_STREAM, BatchConfig, Learner
from foreact.transformer.model import WorldActionModel
from lerobot.configs import PreTrainedConfig
from lerobot.policies import PreTrainedPolicy
from lerobot.utils.constants import OBS_STATE
from torch import Tensor

from lerobot_policy_foreact.batches import read_instructions, read_pictures, training_sequences
from lerobot_policy_foreact.configuration_foreact import FOREACT_FOLDER, ForeactConfig
from lerobot_policy_foreact.playback import Pictures, Playback, begin
from lerobot_policy_foreact.processor_foreact import make_foreact_pre_post_processors

STEPS = "lerobot_steps"
"""In the provenance of a checkpoint: how many steps LeRobot has trained it."""


class ForeactPolicy(PreTrainedPolicy):
    """`select_action` plays chunks back and grounds the next one in what was seen; `forward` is foreact's loss."""

    config_class = ForeactConfig  # pyright: ignore[reportAssignmentType]  (LeRobot annotates both as None)
    name = "foreact"  # pyright: ignore[reportAssignmentType]
    config: ForeactConfig

    def __init__(self, config: ForeactConfig, *, dataset_meta: Any = None, **_: Any):
        """Load the checkpoint that the settings name.

        Args:
            config: Its features are fitted to the checkpoint's robot.
            dataset_meta: LeRobot's, of the dataset to be trained on; its rate is checked.

        Raises:
            ConfigurationError: The dataset or the environment has other rates, sizes or cameras.
            CheckpointError: There is no such checkpoint.
        """
        super().__init__(config)
        loaded = foreact.load(config.origin, device=config.device or "cpu", dtype=config.weights)  # type: ignore[arg-type]
        self._codec, self._own_settings, self._networks = loaded.codec, loaded.config, loaded.networks
        config.fit_features(loaded.embodiment)
        self._camera_keys = config.camera_keys(loaded.embodiment)
        _check_rate(dataset_meta, loaded)
        self.model, self.vae = loaded.networks.model, loaded.networks.vae.requires_grad_(False)
        self._provenance = _provenance(config.origin)
        self._step = int(self._provenance.get(STEPS, 0))
        self.reset()

    @property
    def policy(self) -> Policy:
        """The foreact policy on the weights as they are now, with the checkpoint's own steps."""
        return Policy(self._networks, self._codec, self._own_settings)

    # Inference

    def reset(self) -> None:
        """Forget all robots: the next step begins new sessions."""
        steps = {"video_steps": self.config.video_steps, "action_steps": self.config.action_steps}
        changes = {name: value for name, value in steps.items() if value is not None}
        self._acting = apply_schedule(self.policy, self.config.schedule, **changes)
        self._playback = Playback(self._acting, num_executed=self.config.n_action_steps, seed=self.config.seed)

    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """Return the next action of every environment [batch, dofs], the robot's own units.

        Call it at every control step: pictures between chunks are what the next chunk is grounded in, and the actions
        that it returned are taken to have been executed.
        """
        with torch.inference_mode(False), torch.no_grad():
            return torch.from_numpy(self._playback.act(*self._read(batch))).to(self._device)

    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """Return the chunk [batch, actions, dofs] of robots that are seen for the first time; nothing is remembered."""
        with torch.inference_mode(False), torch.no_grad():
            sessions = begin(self._acting, *self._read(batch), seed=self.config.seed)
            chunks = self._acting.predict_together(sessions)
            return torch.from_numpy(np.stack([chunk.actions for chunk in chunks])).to(self._device)

    def _read(self, batch: dict[str, Any]) -> tuple[Pictures, np.ndarray, list[str]]:
        pictures, states = read_pictures(batch, self._camera_keys), batch[OBS_STATE].float().cpu().numpy()
        return pictures, states, read_instructions(batch, len(states), self.config.instruction)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    # Training

    def get_optim_params(self) -> list[dict[str, Any]]:
        """Return the network's weights, of which only matrices decay; the video VAE and the text encoder are frozen."""
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        return [
            {"params": [weight for weight in weights if weight.ndim > 1]},
            {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
        ]

    def forward(self, batch: dict[str, Any], reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch of windows, and its parts.

        The noise is a function of the seed, the step and the place in the batch. In evaluation it is always that of
        step 0, and never in forward dynamics mode, so that losses can be compared.

        Args:
            batch: As LeRobot's datasets give it under this policy's delta indices.
            reduction: "mean", or "none" for one loss per row.

        Raises:
            ConfigurationError: Another reduction.
            InputError: See `training_sequences`.
        """
        if reduction not in ("mean", "none"):
            raise ConfigurationError("reduction", got=repr(reduction), allowed="mean, none")
        sequences = training_sequences(
            batch,
            vae=self.vae,
            codec=self._codec,
            camera_keys=self._camera_keys,
            instruction=self.config.instruction,
        )
        step = self._step if self.training else 0
        first = len(sequences) * _rank()
        learner, corruption = self._learner(SequenceSampler([sequences], max_frames=2, seed=self.config.seed))
        forward_dynamics = self.training and _draws_mode(self.config.seed, step, corruption)
        indices = list(range(first, first + len(sequences)))
        losses = learner.losses(sequences, indices, step, forward_dynamics=forward_dynamics)
        total = losses.dynamics + self.config.inverse_weight * losses.inverse
        parts = {"forward_dynamics": losses.dynamics} if forward_dynamics else vars(losses)
        figures = {name: part.detach().mean().item() for name, part in parts.items()}
        return total.mean() if reduction == "mean" else total, figures

    def update(self) -> None:
        """Count a step; LeRobot calls it after each."""
        self._step += 1

    def _learner(self, sampler: SequenceSampler) -> tuple[Learner, CorruptionConfig]:
        config, own = self.config, self._own_settings
        batch = BatchConfig(
            max_frames=config.latent_frames,
            max_chunk=config.max_chunk or own.latent_frames_per_chunk,
            window=config.window,
            inverse_weight=config.inverse_weight,
            imagines=own.trained.imagines,
            recompute=config.recompute,
        )
        corruption = CorruptionConfig(
            video_shift=own.trained.video_shift,
            action_shift=own.trained.action_shift,
            noisy_history_probability=config.noisy_history_probability,
            text_dropout=config.text_dropout,
            forward_dynamics_probability=_chosen(config.forward_dynamics_probability, own.trained.forward_dynamics),
            action_prefix_probability=_chosen(config.action_prefix_probability, own.trained.action_prefixes),
        )
        learner = Learner(
            self.model,
            sampler,
            self._networks.text_encoder,
            batch=batch,
            corruption=corruption,
            seed=config.seed,
            bfloat16=config.bfloat16,
        )
        return learner, corruption

    # On disk

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: PreTrainedConfig | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> "ForeactPolicy":
        """Return the policy in a folder, or a repository of the hub, that LeRobot wrote; in evaluation mode."""
        told = config or PreTrainedConfig.from_pretrained(pretrained_name_or_path, revision=revision)
        told.pretrained_path, told.pretrained_revision = Path(pretrained_name_or_path), revision
        return cls(cast("ForeactConfig", told), dataset_meta=kwargs.get("dataset_meta")).eval()

    def _save_pretrained(self, save_directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write LeRobot's configuration and pipelines, and beside them what `foreact.load` takes."""
        policy = self.policy if state_dict is None else self._gathered(state_dict)
        provenance = {**self._provenance, STEPS: self._step}
        policy.save_pretrained(save_directory / FOREACT_FOLDER, provenance=provenance)
        for pipeline in make_foreact_pre_post_processors(self.config):
            pipeline.save_pretrained(save_directory)
        self.config._save_pretrained(save_directory)

    def _gathered(self, state_dict: dict[str, Tensor]) -> Policy:
        """Return the policy on weights that were collected from several devices."""
        prefix = "model."
        weights = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
        with torch.device("meta"):
            model = WorldActionModel(self.model.config)
        model.load_state_dict(weights, assign=True)
        networks = Networks(
            model=model,
            vae=self.vae,
            text_encoder=self._networks.text_encoder,
            text_files=self._networks.text_files,
        )
        return Policy(networks, self._codec, self._own_settings)


def _check_rate(dataset_meta: Any, policy: Policy) -> None:
    wanted = policy.embodiment.timing.action_hz
    if dataset_meta is not None and dataset_meta.fps != wanted:
        raise ConfigurationError("fps of the dataset", got=dataset_meta.fps, allowed=f"{wanted:g}, the policy's rate")


def _provenance(origin: str) -> dict[str, Any]:
    """Return how a checkpoint in a folder was trained; nothing for one that is named."""
    file = Path(origin) / CONFIG_FILE
    return json.loads(file.read_text()).get("provenance", {}) if file.is_file() else {"initial": {"policy": origin}}


def _chosen(probability: float | None, is_trained: bool) -> float:
    return probability if probability is not None else 0.5 * is_trained


def _draws_mode(seed: int, step: int, corruption: CorruptionConfig) -> bool:
    """Return whether a step is in forward dynamics mode: the same on all devices, which must run the same passes."""
    rng = np.random.default_rng([MODE_STREAM, seed, step])
    return bool(rng.random() < corruption.forward_dynamics_probability)


def _rank() -> int:
    distributed = torch.distributed
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
