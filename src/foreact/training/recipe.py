"""The settings of a training run."""

from dataclasses import dataclass, field, replace
from typing import Literal

from foreact.embodiments import CameraLayout, Embodiment, load_embodiment
from foreact.errors import ConfigurationError
from foreact.policy.inference import InferenceChoices, InferenceConfig
from foreact.policy.trained import TrainedFor
from foreact.training.corruption import CorruptionConfig
from foreact.training.methods import AdapterConfig, Method
from foreact.training.optimization import OptimizationConfig
from foreact.training.ranks import ParallelConfig
from foreact.training.step import BatchConfig
from foreact.transformer.initialization import ActionInitialization
from foreact.transformer.model import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The whole tree of settings of one training run."""

    embodiment: str
    """Name or TOML file of the robot."""
    layout: CameraLayout | None = None
    """Which of the robot's cameras the policy sees, and how; None: as the embodiment says."""
    transformer: TransformerConfig
    """Sizes of the network."""
    corruption: CorruptionConfig
    """What noise it learns from."""
    batch: BatchConfig
    """How much it learns from at once."""
    optimization: OptimizationConfig
    """How it is optimised."""
    inference: InferenceChoices
    """How the trained policy computes its chunks by default; what it is trained for follows from the other settings."""
    first_frame: Literal["history", "chunk"] = "history"
    """Place of the first observed latent frame: in the cache by itself, or at the head of the first chunk."""
    method: Method = "full"
    """What is trained: all weights, the action stream alone (action), or that and adapters next to the video stream's
    matrices (lora). The last two need weights to begin with."""
    adapters: AdapterConfig = field(default_factory=AdapterConfig)
    """Of `lora`."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    """How several processes divide the work, where `torchrun` has started more than one."""
    action_initialization: ActionInitialization = "interpolated"
    """Where the action stream starts from."""
    precision: str = "float32"
    """Of the network's arithmetic: float32 or bfloat16; weights are float32."""
    frozen_precision: Literal["float32", "bfloat16"] = "float32"
    """How frozen weights are kept. With bfloat16 the matrices of the layers, nearly all of them, take half the memory;
    losses and gradients are the same to the last bit, since `precision` has to be bfloat16 too."""
    average_on_cpu: bool = False
    """Keep the moving average of the weights in the memory of the CPU; for one process."""
    num_held_out: int = 5
    """Last episodes of every dataset that are never trained on, and judged instead."""
    num_episodes: int | None = None
    """First episodes of every dataset that are trained on, as if no others had been recorded but those held out; None:
    all. However many they are, the same ones are held out."""
    save_every: int = 100
    """Steps between checkpoints."""
    eval_every: int = 500
    """Steps between measurements on held-out episodes."""
    seed: int = 0
    """Of the weights and of every draw."""

    def robot(self) -> Embodiment:
        """Return the embodiment with the cameras that this recipe's policy sees."""
        embodiment = load_embodiment(self.embodiment)
        return embodiment if self.layout is None else replace(embodiment, layout=self.layout)

    @property
    def trained(self) -> TrainedFor:
        """What a network is trained for by these settings: the only place where that is decided."""
        corruption = self.corruption
        return TrainedFor(
            imagines=self.batch.imagines,
            first_frame=self.first_frame,
            forward_dynamics=corruption.forward_dynamics_probability > 0,
            action_prefixes=corruption.action_prefix_probability > 0,
            video_shift=corruption.video_shift,
            action_shift=corruption.action_shift,
            largest_chunk=self.batch.max_chunk,
            few_steps=bool(corruption.action_times),  # only distillation learns at the steps of a solver
        )

    def policy_config(self) -> InferenceConfig:
        """Return how the trained policy computes its chunks by default.

        Raises:
            ConfigurationError: Something is chosen that the network is not trained for; both settings are named.
        """
        chunk, largest = self.inference.latent_frames_per_chunk, self.batch.max_chunk
        if chunk > largest:
            raise ConfigurationError(
                "inference.latent_frames_per_chunk with batch.max_chunk",
                got=f"{chunk} with {largest}",
                allowed="chunks no larger than the largest that is trained on",
            )
        forward = self.corruption.forward_dynamics_probability
        if forward > 0 and not (self.batch.imagines and self.first_frame == "history"):
            raise ConfigurationError(
                "corruption.forward_dynamics_probability with batch.imagines and first_frame",
                got=f"{forward:g} with {self.batch.imagines} and {self.first_frame}",
                allowed="above 0 only with batch.imagines True and first_frame history",
            )
        return InferenceConfig.join(self.inference, self.trained)

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigurationError("precision", got=self.precision, allowed="float32, bfloat16")
        if self.frozen_precision == "bfloat16" != self.precision:
            raise ConfigurationError(
                "frozen_precision", got="bfloat16", allowed=f"float32, since `precision` is {self.precision}"
            )
        self.policy_config()
        for name in ("save_every", "eval_every"):
            if getattr(self, name) < 1:
                raise ConfigurationError(name, got=getattr(self, name), allowed="1 or more")
        if self.num_episodes is not None and self.num_episodes < 1:
            raise ConfigurationError("num_episodes", got=self.num_episodes, allowed="1 or more, or none for all")
