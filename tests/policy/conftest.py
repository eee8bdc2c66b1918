"""Weights in the published layout: copies of a recorded folder's, and rollouts of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from foreact.policy.loading import load_published
from foreact.policy.policy import Policy
from foreact.policy.replay import SETTINGS_FILE, TENSORS_FILE, Recording
from foreact.policy.storage.placement import Placement
from foreact.settings import to_plain

Tensors = dict[str, Tensor]
WEIGHTS = "diffusion_pytorch_model.safetensors"


class Published:
    """A small network as the release stores its own: 2 cameras of 64 x 64, chunks of 2 latent frames of 4 actions."""

    chunk, per_frame, num_dofs = 2, 4, 7

    def __init__(self, name: str = "side_by_side"):
        self.source = Path(__file__).parents[1] / "golden" / name
        self.recording = Recording(self.source)
        self.settings = self.recording.settings

    def copy(self, folder: Path) -> Path:
        """The weights alone."""
        return shutil.copytree(self.source, folder, ignore=shutil.ignore_patterns(SETTINGS_FILE, TENSORS_FILE))

    def load(self, folder: Path | None = None, **placement) -> Policy:
        settings = self.settings
        return load_published(
            folder or self.source, settings.codec, settings.inference, placement=Placement(**placement)
        )

    def settings_file(self, path: Path, **changes) -> Path:
        """The recorded robot as a user would describe it; None leaves something out."""
        codec, inference = self.settings.codec, self.settings.inference
        flat = to_plain(inference.choices) | to_plain(inference.trained)
        stored = {"source": "a recording", "actions": codec.to_dict(), "inference": flat} | changes
        path.write_text(json.dumps(stored))
        return path

    def images(self, num_frames: int, *, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        size = (num_frames, self.settings.height, self.settings.width, 3)
        return {camera: rng.integers(0, 256, size, dtype=np.uint8) for camera in self.settings.cameras}

    def roll_out(self, policy: Policy, *, seed: int = 0) -> list[np.ndarray]:
        """Two chunks in closed loop: actions and imagined latents of both."""
        session = policy.start("put the bowl on the plate", seed=seed)
        policy.observe_first(session, self.images(1, seed=seed), np.zeros(0, np.float32))
        first = policy.predict(session)
        policy.observe(session, self.images(4 * (self.chunk - 1), seed=seed + 1), first.actions)
        second = policy.predict(session)
        assert first.imagined_latents is not None and second.imagined_latents is not None
        return [first.actions, second.actions, first.imagined_latents, second.imagined_latents]

    def change_tensors(self, folder: Path, change: Callable[[Tensors], Tensors]) -> None:
        """Rewrite the transformer's weights."""
        path = folder / "transformer" / WEIGHTS
        save_file({name: value.contiguous() for name, value in change(load_file(path)).items()}, path)

    def change_config(self, folder: Path, **changes) -> None:
        """Rewrite the transformer's configuration; None leaves something out."""
        path = folder / "transformer/config.json"
        config = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


@pytest.fixture(scope="session")
def published() -> Published:
    return Published()


@pytest.fixture
def copied(published: Published, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return published.copy(tmp_path / "weights")
