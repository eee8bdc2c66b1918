"""How much a token of one stream is multiplied, and by how many weights, on its way through the network."""

from dataclasses import dataclass
from typing import Literal

from foreact.transformer.model import TransformerConfig

Kind = Literal["video", "action"]


@dataclass(frozen=True, kw_only=True)
class StreamSizes:
    """What of a `TransformerConfig` one kind of token meets."""

    features: int
    """Of a token as it enters and leaves."""
    tokens: int
    """Per latent frame."""
    width: int
    """Of the stream."""
    ffn_dim: int
    """Hidden width of its feed-forward."""
    joint_width: int
    """Of joint attention."""
    num_layers: int
    """Of the network."""
    frequency_dim: int
    """Features of the time code."""
    factorized: bool
    """Whether queries, keys and values pass the stream's own width first; see `JointProjections`."""
    mlp: bool
    """Whether tokens enter through two matrices, not one."""

    @property
    def ends(self) -> int:
        """Weights of the matrices at the way in and out, each met once by every token."""
        return 2 * self.features * self.width + (self.width**2 if self.mlp else 0)

    @property
    def way_in(self) -> int:
        """Weights of the matrices at the way in alone: a pass whose velocities nobody wants has no way out."""
        return self.ends - self.features * self.width

    @property
    def clock(self) -> int:
        """Weights of the matrices that every flow time meets once."""
        return self.frequency_dim * self.width + 7 * self.width**2

    @property
    def layer_weights(self) -> int:
        """Weights of a layer's matrices that a pass reads; those that read the instruction are not among them."""
        ways = 2 * self.width * self.joint_width if self.factorized else 0
        return self._layer_without_ways + ways

    @property
    def layer_products(self) -> int:
        """Multiplications of one token with a layer's matrices: a shared way up is met three times."""
        ways = 4 * self.width * self.joint_width if self.factorized else 0
        return self._layer_without_ways + ways

    @property
    def kept_products(self) -> int:
        """Multiplications of one token with the last layer's matrices, where only its key and value are wanted."""
        inner = self.width if self.factorized else self.joint_width
        return 2 * self.width * inner + (2 * self.width * self.joint_width if self.factorized else 0)

    @property
    def kept_weights(self) -> int:
        """Weights of those matrices: a shared way up is one."""
        inner = self.width if self.factorized else self.joint_width
        return 2 * self.width * inner + (self.width * self.joint_width if self.factorized else 0)

    @property
    def _layer_without_ways(self) -> int:
        inner = self.width if self.factorized else self.joint_width
        return self.width * (4 * inner + 2 * self.width + 2 * self.ffn_dim)


def stream_sizes(config: TransformerConfig, kind: Kind) -> StreamSizes:
    """Return what tokens of this kind meet; with a shared backbone, actions meet the video stream's layers."""
    is_video = kind == "video"
    return StreamSizes(
        features=config.patch_features if is_video else config.action_channels,
        tokens=config.video_tokens if is_video else config.action_tokens,
        width=config.video_width if is_video else config.action_width,
        ffn_dim=config.video_ffn_dim if is_video else config.action_ffn_dim,
        joint_width=config.video_width,
        num_layers=config.num_layers,
        frequency_dim=config.frequency_dim,
        factorized=not is_video and config.action_projection == "factorized",
        mlp=not is_video and config.action_embedding == "mlp",
    )
