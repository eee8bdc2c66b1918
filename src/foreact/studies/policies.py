"""Policies that a study trains, and those that are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar

import torch

from foreact.codecs.video_vae import VideoVAE
from foreact.data.episodes import EpisodeDataset
from foreact.policy.storage import checkpoint
from foreact.simulation.tasks import get_task
from foreact.studies.demonstrations import EPISODE_SHARE, Dataset, Demonstrations, encode
from foreact.studies.work import OnProgress, Work, WorkFolders, digest_of, plain_settings
from foreact.training.recipe import Recipe
from foreact.training.run import POLICY_FOLDER, train

WEIGHTS = ("**/*.safetensors", "**/config.json")
OPERATIONS_PER_S = 3e10
"""Of one core, in training a small network."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A policy that a study trains; it is resumed exactly where an interrupted call left it."""

    kind: ClassVar[str] = "training"
    recipe: Recipe
    """All settings; `num_episodes` of each dataset, `seed` and `optimization.num_steps` among them."""
    data: tuple[Dataset, ...]
    """What it learns from; latents are encoded when they are first needed."""
    vae: str = "tiny"
    """Whose video VAE: a shipped policy's, that of a policy's folder; or a video VAE's own folder."""
    initial: "TrainingRun | str | None" = None
    """Policy or weights to go on from; None: from scratch."""

    @property
    def size(self) -> int:
        """Steps."""
        return self.recipe.optimization.num_steps

    @property
    def expected_s(self) -> float:
        """Seconds on one core: six operations a weight and token. Each latent frame is there clean and noisy.

        Micro-batches are padded to their longest episode: if they are whole batches, the task with the longest ones
        counts; if not, like is with like, and the mean does.
        """
        sizes, batch = self.recipe.transformer, self.recipe.batch
        video, action = (
            width * (8 * sizes.video_width + 2 * ffn_dim)
            for width, ffn_dim in (
                (sizes.video_width, sizes.video_ffn_dim),
                (sizes.action_width, sizes.action_ffn_dim),
            )
        )
        tokens = video * sizes.video_tokens * (2 if batch.imagines else 1) + action * sizes.action_tokens * 2
        lengths = [min(batch.max_frames, _frames(dataset, self.recipe)) for dataset in self.data]
        length = mean(lengths) if batch.micro_batch < batch.global_batch else max(lengths)
        frames = self.size * batch.global_batch * length
        return 6 * sizes.num_layers * tokens * frames / OPERATIONS_PER_S

    @property
    def title(self) -> str:
        """A few words."""
        kind = "imagines" if self.recipe.batch.imagines else "reacts"
        return f"training one that {kind}: {self.size} steps, {len(self.data)} datasets, seed {self.recipe.seed}"

    def fingerprint(self) -> dict[str, Any]:
        """Return all settings, those of what it needs among them, and digests of what it reads."""
        return {
            "recipe": plain_settings(self.recipe) | {"embodiment": _robot(self.recipe.embodiment)},
            "data": [dataset.fingerprint() for dataset in self.data],
            "vae": digest_of(str(checkpoint.find_vae(self.vae)), WEIGHTS),
            "initial": None if self.initial is None else policy_fingerprint(self.initial),
        }

    def needs(self) -> Sequence[Work]:
        """Return demonstrations to be recorded, and the training it goes on from."""
        recorded = tuple(dataset for dataset in self.data if isinstance(dataset, Demonstrations))
        return (*recorded, self.initial) if isinstance(self.initial, TrainingRun) else recorded

    def perform(self, folder: Path, store: WorkFolders, device: str, on_progress: OnProgress) -> None:
        """Encode what is missing; train from where an interrupted call stopped."""
        torch.set_num_threads(1)
        datasets = [EpisodeDataset(dataset.root(store)) for dataset in self.data]
        vae = VideoVAE.from_pretrained(checkpoint.find_vae(self.vae))
        for dataset in datasets:
            encode(dataset, vae, self.recipe.robot(), device)
        initial = None if self.initial is None else find_policy(self.initial, store)
        known = False
        for now in train(self.recipe, datasets, vae.to("cpu"), folder, initial=initial, device=device):
            if not known:
                on_progress(now.step - 1, now.num_steps, "")
            on_progress(now.step, now.num_steps, f"loss {now.loss:.3f}  {now.judged}")
            known = True


PolicySource = TrainingRun | str
"""A policy that is trained, or the name of one that ships, or a folder."""


def policy_fingerprint(source: PolicySource) -> dict[str, Any]:
    """Return what decides a policy: how it is trained, or a digest of its files."""
    if isinstance(source, TrainingRun):
        return {"training": source.fingerprint()}
    return {"weights": digest_of(str(checkpoint.find_policy(source)), WEIGHTS)}


def changed_in(source: PolicySource, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of a policy's inference settings that change something: those that are its own do not."""
    own = vars(source.recipe.inference) if isinstance(source, TrainingRun) else {}
    return {name: value for name, value in changes.items() if name not in own or own[name] != value}


def find_policy(source: PolicySource, store: WorkFolders) -> Path:
    """Return the folder of a policy; of one to be trained, where it will be."""
    return store.folder(source) / POLICY_FOLDER if isinstance(source, TrainingRun) else checkpoint.find_policy(source)


def _frames(dataset: Dataset, recipe: Recipe) -> int:
    """Return about how many latent frames an episode has; as many as may be if that is not known beforehand."""
    if isinstance(dataset, Demonstrations):
        steps = get_task(dataset.config.task).max_steps * EPISODE_SHARE
        return 1 + round(steps / recipe.transformer.actions_per_latent_frame)
    return recipe.batch.max_frames


def _robot(name_or_file: str) -> str:
    path = Path(name_or_file)
    return digest_of(str(path.parent), (path.name,)) if path.suffix == ".toml" else name_or_file
