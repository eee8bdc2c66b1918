"""The settings that LeRobot's commands take as `--policy.NAME=...`."""

from dataclasses import dataclass, field
from functools import lru_cache

from foreact.embodiments import ActionCodec, Embodiment, Timing
from foreact.errors import CheckpointError, ConfigurationError, UnknownNameError
from foreact.policy.schedules import get_schedule
from foreact.policy.storage import checkpoint
from foreact.policy.storage.checkpoint import find_policy
from foreact.policy.storage.hub import resolve
from foreact.training.step import BatchConfig
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature, PreTrainedConfig
from lerobot.optim import AdamWConfig
from lerobot.optim.schedulers import CosineAnnealingWithWarmupSchedulerConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

FOREACT_FOLDER = "foreact"
"""In a folder that LeRobot saved: what `foreact.load` takes."""

CAMERAS_CURE = """say where each camera's pictures are: --policy.cameras='{"NAME": "observation.images.OTHER"}'"""


@PreTrainedConfig.register_subclass("foreact")
@dataclass
class ForeactConfig(PreTrainedConfig):
    """What LeRobot needs to know. The robot, its normalisation and the networks' sizes are the checkpoint's."""

    checkpoint: str = "tiny"
    """What to begin from: a folder that `foreact train` wrote, a policy that ships by its name, or "owner/name" on the
    hub. Of no account once LeRobot has a folder of its own (`--policy.path`)."""
    weights: str = "stored"
    """Precision of the weights in memory: stored, float32, bfloat16, float16. To train, float32."""
    cameras: dict[str, str] = field(default_factory=dict)
    """Name of the policy's camera to LeRobot's key of its pictures, for example {"top": "observation.images.high"};
    any other camera NAME is "observation.images.NAME"."""
    instruction: str | None = None
    """What to do, in words; None: the batch's "task"."""

    seed: int = 0
    """Of all noise. In a batch of environments the n-th one's is `seed` + n, after every reset."""
    n_action_steps: int | None = None
    """Actions of a chunk that are executed before the next one is computed; None: all of them."""
    schedule: str | None = None
    """exact, fast or turbo; None: the policy's own steps."""
    video_steps: int | None = None
    """Denoising steps of the video; None: the schedule's."""
    action_steps: int | None = None
    """Denoising steps of the actions; None: the schedule's."""

    latent_frames: int = 9
    """Of a training sequence: the first one, and two chunks of four."""
    max_chunk: int | None = None
    """Latent frames per chunk are drawn from 1 to this for every step; None: as many as the policy imagines."""
    window: tuple[int, int] = (4, 64)
    """History window in latent frames: drawn between these for every step."""
    inverse_weight: float = 1.0
    """Lambda, of the actions' loss."""
    noisy_history_probability: float = 0.5
    """Of a chunk's clean video being replaced by a half-denoised one."""
    text_dropout: float = 0.1
    """Probability of an empty instruction, for guidance."""
    forward_dynamics_probability: float | None = None
    """Of a step in forward dynamics mode; None: 0.5 if the policy was trained for it, else 0."""
    action_prefix_probability: float | None = None
    """Of a chunk's first actions being given; None: 0.5 if the policy was trained for it, else 0."""
    bfloat16: bool = False
    """Train the network in bfloat16; its weights stay as they are."""
    recompute: bool = False
    """Train with a fraction of the memory, for a forward pass more."""

    optimizer_lr: float = 1e-4
    """At the end of the warm-up."""
    optimizer_betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's."""
    optimizer_weight_decay: float = 0.01
    """Of matrices; vectors (biases, norms) do not decay."""
    optimizer_grad_clip_norm: float = 2.0
    """Gradients are clipped to this norm."""
    scheduler_warmup_steps: int = 100
    """Of the learning rate; then it falls to zero along a cosine."""

    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    )
    """All of it the identity: the checkpoint's codec normalises, and nothing may do so twice."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent_frames < 2:
            raise ConfigurationError("latent_frames", got=self.latent_frames, allowed="2 or more")
        if self.schedule is not None:
            get_schedule(self.schedule)
        if changed := [kind for kind, mode in self.normalization_mapping.items() if mode != NormalizationMode.IDENTITY]:
            raise ConfigurationError(
                "normalization_mapping",
                got=", ".join(changed),
                allowed="IDENTITY: the checkpoint's own codec normalises",
            )
        BatchConfig(max_chunk=1 if self.max_chunk is None else self.max_chunk, window=self.window)

    @property
    def origin(self) -> str:
        """What `foreact.load` is to load: in LeRobot's own folder, if there is one, else the checkpoint.

        Raises:
            CheckpointError: LeRobot's folder cannot be had, or holds no foreact policy.
        """
        if self.pretrained_path is None:
            return self.checkpoint
        folder = resolve(str(self.pretrained_path), revision=self.pretrained_revision)
        if not (folder / FOREACT_FOLDER).is_dir():
            raise CheckpointError(
                f"LeRobot policy in {folder}",
                got=f"no folder {FOREACT_FOLDER}/ in it",
                cure="for a folder that foreact itself wrote use --policy.type=foreact --policy.checkpoint=DIR",
            )
        return str(folder / FOREACT_FOLDER)

    @property
    def timing(self) -> Timing:
        """Rates and counts of the checkpoint, read without its weights.

        Raises:
            CheckpointError: It is not in foreact's format, which alone can be trained.
        """
        return read_codec(self.origin).embodiment.timing

    @property
    def observation_delta_indices(self) -> list[int]:
        """Rows of the camera frames that a training sequence is made from: strided, never the present one repeated."""
        return self.timing.camera_rows(self.latent_frames).tolist()

    @property
    def action_delta_indices(self) -> list[int]:
        """Rows of the actions between the first and the last latent frame."""
        return list(range((self.latent_frames - 1) * self.timing.actions_per_latent_frame))

    @property
    def reward_delta_indices(self) -> None:
        """None: rewards are not learned from."""
        return None

    def camera_keys(self, embodiment: Embodiment) -> dict[str, str]:
        """Return LeRobot's key for each of the robot's cameras, in their order.

        Raises:
            UnknownNameError: `cameras` names one that the policy does not have.
            ConfigurationError: One key stands for two cameras.
        """
        for camera in self.cameras:
            if camera not in embodiment.cameras:
                raise UnknownNameError("camera of the policy", camera, embodiment.cameras)
        keys = {camera: self.cameras.get(camera, f"{OBS_IMAGES}.{camera}") for camera in embodiment.cameras}
        if len(set(keys.values())) < len(keys):
            raise ConfigurationError("cameras", got=keys, allowed="a key of its own for every camera")
        return keys

    def fit_features(self, embodiment: Embodiment) -> None:
        """Keep of the features what the policy uses, or fill in what it expects where nothing is known yet.

        Raises:
            ConfigurationError: A camera, the state or the action is missing, or has another size.
        """
        pictures = zip(self.camera_keys(embodiment).values(), embodiment.layout.picture_sizes, strict=True)
        expected = {key: PolicyFeature(FeatureType.VISUAL, (3, *size)) for key, size in pictures}
        expected[OBS_STATE] = PolicyFeature(FeatureType.STATE, (embodiment.num_state_entries,))
        self.input_features = _choose(self.input_features, expected, "observations", CAMERAS_CURE)
        acting = {ACTION: PolicyFeature(FeatureType.ACTION, (embodiment.num_dofs,))}
        self.output_features = _choose(self.output_features, acting, "actions", None)

    def validate_features(self) -> None:
        """Check the features against the checkpoint's robot; see `fit_features`."""
        self.fit_features(read_codec(self.origin).embodiment)

    def get_optimizer_preset(self) -> AdamWConfig:
        """Return the optimiser of foreact's own training."""
        return AdamWConfig(
            lr=self.optimizer_lr,
            betas=self.optimizer_betas,
            weight_decay=self.optimizer_weight_decay,
            grad_clip_norm=self.optimizer_grad_clip_norm,
        )

    def get_scheduler_preset(self) -> CosineAnnealingWithWarmupSchedulerConfig:
        """Return a warm-up and a cosine over the steps of the run."""
        return CosineAnnealingWithWarmupSchedulerConfig(num_warmup_steps=self.scheduler_warmup_steps)


@lru_cache
def read_codec(origin: str) -> ActionCodec:
    """Return a checkpoint's robot and normalisation, read without its weights.

    Raises:
        CheckpointError: There is no such checkpoint, or it is not in foreact's format, which alone can be trained.
    """
    try:
        return checkpoint.read_codec(find_policy(origin))
    except CheckpointError as error:
        cure = "make a network of ours from published weights with `foreact init`"
        raise CheckpointError(f"checkpoint {origin!r}, to be trained", got=str(error), cure=cure) from error


def _choose(
    there: dict[str, PolicyFeature] | None, expected: dict[str, PolicyFeature], what: str, cure: str | None
) -> dict[str, PolicyFeature]:
    """Return the expected features as they are there; the expected ones themselves if nothing is there."""
    if not there:
        return expected
    if missing := [key for key in expected if key not in there]:
        raise ConfigurationError(
            f"{what} of the policy", got=f"no {', '.join(missing)}", allowed=", ".join(there), cure=cure
        )
    for key, feature in expected.items():
        if feature.type is not FeatureType.VISUAL and tuple(there[key].shape) != feature.shape:
            raise ConfigurationError(f"size of {key!r}", got=tuple(there[key].shape), allowed=feature.shape)
    return {key: there[key] for key in expected}
