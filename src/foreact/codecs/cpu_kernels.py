"""The video VAE's layers with the kernels that are fastest on a CPU; weights, names and results stay what they are.

Of a single small clip torch convolves in three dimensions by a fallback (`slow_conv3d`), since it takes oneDNN's kernel
only for batches and large pictures. oneDNN's is three to five times as fast there, too. The norm over channels is slow
for another reason: torch reduces along an axis that is not the last one number by number, where a plain sum of squares
is vectorised over the positions.
"""

import torch
from torch import Tensor, nn

from foreact.from_diffusers import WanCausalConv3d, WanRMS_norm


def use_cpu_kernels(network: nn.Module) -> None:
    """Let the layers of a network choose the faster kernel wherever they run on a CPU without gradients.

    Args:
        network: Diffusers' video VAE; changed in place, its weights are not.
    """
    for module in network.modules():
        if type(module) is WanCausalConv3d:
            module.__class__ = FastCausalConv3d
        elif type(module) is WanRMS_norm and module.channel_first:
            module.__class__ = FastChannelNorm


def _may_hurry(x: Tensor) -> bool:
    needs_gradient = torch.is_grad_enabled()
    return x.device.type == "cpu" and x.dtype == torch.float32 and not needs_gradient


class FastCausalConv3d(WanCausalConv3d):
    """A causal convolution that never takes torch's fallback."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _may_hurry(input) or not torch.backends.mkldnn.enabled or not torch.backends.mkldnn.is_available():
            return super()._conv_forward(input, weight, bias)
        return torch.mkldnn_convolution(input, weight, bias, [0, 0, 0], self.stride, self.dilation, self.groups)


class FastChannelNorm(WanRMS_norm):
    """Root mean square norm over the channels of [batch, channels, ...]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised features, scaled by the layer's weights."""
        if not _may_hurry(x):
            return super().forward(x)
        length = x.square().sum(1, keepdim=True).sqrt_().clamp_min_(1e-12)
        return x / length * (self.scale * self.gamma) + self.bias
