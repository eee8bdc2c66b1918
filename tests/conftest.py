"""Shapes are checked in every test: jaxtyping's annotations are enforced here and free at run time."""

from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import settings
from jaxtyping import install_import_hook

import foreact.from_diffusers  # noqa: F401  (first: it keeps the libraries that come next quiet)

install_import_hook("foreact", "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from diffusers import WanTransformer3DModel  # noqa: E402

from foreact.codecs.text import HashedWordEncoder  # noqa: E402
from foreact.codecs.video_vae import VideoVAE  # noqa: E402
from foreact.data.batch import TrainingSequence  # noqa: E402
from foreact.data.episodes import EpisodeDataset  # noqa: E402
from foreact.data.latents import CAMERA_PREFIX  # noqa: E402
from foreact.data.recorder import DatasetWriter  # noqa: E402
from foreact.data.sequences import EXECUTED  # noqa: E402
from foreact.embodiments import ActionCodec, Arm, CameraLayout, Dof, Embodiment, Gripper, Timing  # noqa: E402
from foreact.policy.inference import InferenceConfig, inference_from_plain  # noqa: E402
from foreact.policy.networks import Networks  # noqa: E402
from foreact.policy.policy import Policy  # noqa: E402
from foreact.training.video_vae_config import VideoVAETrainingConfig  # noqa: E402
from foreact.transformer.attention import CachedAttention  # noqa: E402
from foreact.transformer.cache import KVCache  # noqa: E402
from foreact.transformer.initialization import initialize  # noqa: E402
from foreact.transformer.model import TextContext, TransformerConfig, WorldActionModel  # noqa: E402
from foreact.transformer.tokens import StreamInput, patchify, unpatchify  # noqa: E402

# A busy machine is no failure: no deadline per example, and the same examples every time.
settings.register_profile("foreact", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("foreact")


class Tiny:
    """A whole system in miniature: one arm of three degrees of freedom, two cameras, a network of two layers.

    A latent frame is 2 camera frames, a camera frame 2 actions; the canvas is 4 x 4 latents, 4 video tokens.
    """

    chunk = 2
    """Latent frames per chunk."""
    per_frame = 4
    """Actions per latent frame."""

    def embodiment(self) -> Embodiment:
        dofs = (
            Dof(name="shoulder", unit="rad", low=-2.0, high=2.0),
            Dof(name="elbow", unit="rad", low=-2.0, high=2.0),
            Dof(name="gripper", unit="opening", low=0.0, high=1.0),
        )
        arm = Arm(
            side="left",
            space="joint",
            representation="absolute",
            entries=(0, 1),
            gripper=Gripper(entry=2, open=1.0, closed=0.0),
        )
        return Embodiment(
            name="toy",
            description="Two joints and a gripper.",
            dofs=dofs,
            arms=(arm,),
            layout=CameraLayout(kind="side_by_side", cameras=("top", "wrist"), height=16, width=8),
            timing=Timing(action_hz=50.0, camera_stride=2, vae_factor=2, latent_frames_per_chunk=self.chunk),
        )

    def codec(self) -> ActionCodec:
        corners = np.zeros((2, 30))
        corners[1] = 1.0
        embodiment = self.embodiment()
        return ActionCodec.fit(embodiment, corners * embodiment.channel_mask)

    def vae(self, seed: int = 0) -> VideoVAE:
        config = VideoVAETrainingConfig(
            encoder_width=4,
            decoder_width=4,
            num_channels=4,
            width_multipliers=(1, 1),
            temporal_downsampling=(True,),
            num_frames=5,
        )
        torch.manual_seed(seed)
        return VideoVAE(config.build_autoencoder()).eval()

    def sizes(self, **changes) -> TransformerConfig:
        settings = {
            "latent_channels": 4,
            "canvas": (4, 4),
            "actions_per_latent_frame": self.per_frame,
            "action_channels": 30,
            "video_width": 24,
            "action_width": 16,
            "num_layers": 2,
            "num_heads": 2,
            "video_ffn_dim": 32,
            "action_ffn_dim": 24,
            "text_dim": 8,
            "frequency_dim": 16,
        }
        return TransformerConfig(**(settings | changes))

    def model(self, *, seed: int = 0, **changes) -> WorldActionModel:
        """No weight is zero or one, as some are at the start of training: every term counts."""
        model = WorldActionModel(self.sizes(**changes))
        initialize(model, seed=seed)
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.15)
        return model.eval()

    def inference(self, **changes) -> InferenceConfig:
        settings = {"latent_frames_per_chunk": self.chunk, "window": 8, "video_steps": 2, "action_steps": 2}
        return inference_from_plain(settings | changes)

    def networks(self, **sizes) -> Networks:
        return Networks(model=self.model(**sizes), vae=self.vae(), text_encoder=HashedWordEncoder(dim=8))

    def policy(self, *, networks: Networks | None = None, **inference) -> Policy:
        return Policy(networks or self.networks(), self.codec(), self.inference(**inference))

    def images(self, num_frames: int, *, seed: int = 0) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {camera: rng.integers(0, 256, (num_frames, 16, 8, 3), dtype=np.uint8) for camera in ("top", "wrist")}

    def actions(self, num_actions: int, *, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).uniform(0, 1, (num_actions, 3)).astype(np.float32)

    def sequence(self, num_frames: int, *, seed: int = 0, instruction: str = "push it") -> TrainingSequence:
        """Noise of the shape of an episode in model units."""
        generator = torch.Generator().manual_seed(seed)
        mask = torch.from_numpy(self.embodiment().channel_mask.copy())

        def actions() -> torch.Tensor:
            return torch.randn(num_frames, self.per_frame, 30, generator=generator) * mask

        return TrainingSequence(
            latents=torch.randn(4, num_frames, 4, 4, generator=generator),
            actions=actions(),
            executed=actions(),
            action_valid=torch.ones(num_frames, self.per_frame, dtype=torch.bool),
            frame_valid=torch.ones(num_frames, dtype=torch.bool),
            instruction=instruction,
            channel_mask=mask,
        )

    def columns(self, length: int, *, seed: int = 0) -> dict[str, np.ndarray]:
        """A smooth episode; what is executed differs from what was meant."""
        rng = np.random.default_rng(seed)
        time = np.arange(length)[:, None]
        action = (0.5 + 0.4 * np.sin(time / 9 + rng.uniform(0, 6, 3))).astype(np.float32)
        executed = (action + rng.normal(0, 0.02, action.shape)).astype(np.float32)
        return {"observation.state": np.roll(executed, 1, axis=0), "action": action, EXECUTED: executed}

    def dataset(self, root: Path, *, lengths: tuple[int, ...] = (21, 17, 30, 26), fps: int = 50) -> EpisodeDataset:
        """Episodes in which a square wanders, in LeRobot's format."""
        names = list(self.embodiment().dof_names)
        with DatasetWriter.create_or_resume(
            root,
            fps=fps,
            robot_type="toy",
            features={"observation.state": names, "action": names, EXECUTED: names},
            cameras={CAMERA_PREFIX + camera: (16, 16) for camera in ("top", "wrist")},
        ) as writer:
            for number, length in enumerate(lengths):
                writer.add_episode(
                    columns=self.columns(length, seed=number),
                    videos={CAMERA_PREFIX + c: _wandering_square(length, c) for c in ("top", "wrist")},
                    instruction="push it" if number % 2 else "pull it",
                )
        return EpisodeDataset(root)


def _wandering_square(length: int, camera: str) -> Iterator[np.ndarray]:
    for row in range(length):
        picture = np.full((16, 16, 3), 40, np.uint8)
        start = row % 12
        picture[start : start + 4, 4:10] = (220, 120, 250 if camera == "top" else 10)
        yield picture


class WanOracle:
    """Diffusers' own Wan, to compare the video stream with."""

    def random(self, config: TransformerConfig) -> WanTransformer3DModel:
        """No weight is zero or one, as some are at the start of training: every term counts."""
        torch.manual_seed(5)
        wan = WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_dim,
            in_channels=config.latent_channels,
            out_channels=config.latent_channels,
            text_dim=config.text_dim,
            freq_dim=config.frequency_dim,
            ffn_dim=config.video_ffn_dim,
            num_layers=config.num_layers,
            cross_attn_norm=True,
            eps=config.eps,
        ).eval()
        with torch.no_grad():
            for parameter in wan.parameters():
                parameter.add_(torch.randn(parameter.shape), alpha=0.1)
        return wan

    def video_velocity(
        self, model: WorldActionModel, latents: torch.Tensor, flow_time: torch.Tensor, text: TextContext
    ) -> torch.Tensor:
        """One chunk of video with nothing before it: full attention."""
        config = model.config
        cache = KVCache(
            num_layers=config.num_layers,
            batch=len(latents),
            num_heads=config.num_heads,
            head_dim=config.head_dim,
            window=1,
            video_tokens=config.video_tokens,
            action_tokens=config.actions_per_latent_frame,
            scratch_frames=latents.shape[2],
        )
        rotary = model.video_rotary(torch.arange(latents.shape[2]))
        given = StreamInput(values=patchify(latents, config.patch_size), flow_time=flow_time, rotary=rotary)
        velocity, _ = model(given, None, text, CachedAttention(cache))
        return unpatchify(velocity, *config.canvas, config.patch_size)

    @torch.no_grad()
    def assert_same_velocity(
        self, model: WorldActionModel, wan: WanTransformer3DModel, flow_times: list[float]
    ) -> None:
        """The network's video and Wan's, of the same latents, text and flow times (one per latent frame)."""
        config, generator = model.config, torch.Generator().manual_seed(0)
        latents = torch.randn(1, config.latent_channels, len(flow_times), *config.canvas, generator=generator)
        text = torch.randn(1, 5, config.text_dim, generator=generator)
        times = torch.tensor([flow_times])
        ours = self.video_velocity(model, latents, times, model.read_text(text, torch.tensor([5])))
        timestep = (1000 * (1 - times)).repeat_interleave(config.video_tokens, dim=1)
        theirs = wan(latents, timestep=timestep, encoder_hidden_states=text, return_dict=False)[0]
        torch.testing.assert_close(ours, -theirs, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture(scope="session")
def oracle() -> WanOracle:
    return WanOracle()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Results to the last bit need a fixed order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mutated() -> Callable[[np.random.Generator, list[bytes]], bytes]:
    """Makes of some messages one of which bytes were changed, left out, doubled or taken from another."""

    def make(rng: np.random.Generator, messages: list[bytes]) -> bytes:
        data = bytearray(messages[rng.integers(len(messages))])
        for _ in range(rng.integers(1, 5)):
            at, kind = int(rng.integers(len(data) + 1)), rng.integers(5)
            if kind == 0:
                data = data[:at]
            elif kind == 1:
                data[at : at + 1] = rng.bytes(1)
            elif kind == 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            elif kind == 3:
                del data[at : at + int(rng.integers(1, 9))]
            else:
                other = messages[rng.integers(len(messages))]
                data[at:at] = other[int(rng.integers(len(other))) :][:64]
        return bytes(data)

    return make
