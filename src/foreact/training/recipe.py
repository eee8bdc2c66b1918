"""The settings of a training run."""

from dataclasses import dataclass, field, replace
from typing import Literal

from foreact.embodiments import CameraLayout, Embodiment, load_embodiment
from foreact.errors import ConfigurationError
from foreact.policy.inference import InferenceConfig
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
    text_dim: int
    """Width of the small text encoder."""
    transformer: TransformerConfig
    """Sizes of the network."""
    corruption: CorruptionConfig
    """What noise it learns from."""
    batch: BatchConfig
    """How much it learns from at once."""
    optimization: OptimizationConfig
    """How it is optimised."""
    inference: InferenceConfig
    """How the trained policy computes its chunks, unless told otherwise."""
    method: Method = "full"
    """What is trained: all weights, the action stream alone (action), or that and adapters beside the video stream's
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
    judge_every: int = 500
    """Steps between measurements on held-out episodes."""
    seed: int = 0
    """Of the weights and of every draw."""

    def robot(self) -> Embodiment:
        """Return the embodiment with the cameras that this recipe's policy sees."""
        embodiment = load_embodiment(self.embodiment)
        return embodiment if self.layout is None else replace(embodiment, layout=self.layout)

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigurationError("precision", got=self.precision, allowed="float32, bfloat16")
        if self.frozen_precision == "bfloat16" != self.precision:
            raise ConfigurationError(
                "frozen_precision", got="bfloat16", allowed=f"float32, since `precision` is {self.precision}"
            )
        if self.text_dim != self.transformer.text_dim:
            raise ConfigurationError("text_dim", got=self.text_dim, allowed=self.transformer.text_dim)
        for learned, claimed in (
            ("forward_dynamics_probability", "forward_dynamics"),
            ("action_prefix_probability", "action_prefixes"),
        ):
            probability, claim = getattr(self.corruption, learned), getattr(self.inference, claimed)
            if (probability > 0) != claim:
                got = f"corruption.{learned} {probability:g} with inference.{claimed} {claim}"
                raise ConfigurationError("what is learned and used", got=got, allowed="both, or neither")
        for name in ("save_every", "judge_every"):
            if getattr(self, name) < 1:
                raise ConfigurationError(name, got=getattr(self, name), allowed="1 or more")
        if self.num_episodes is not None and self.num_episodes < 1:
            raise ConfigurationError("num_episodes", got=self.num_episodes, allowed="1 or more, or none for all")
