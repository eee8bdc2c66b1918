"""What was imagined of each latent frame until it is seen, and how far the two are apart."""

import torch
from jaxtyping import Float
from torch import Tensor


class ImaginedFrames:
    """The latest imagination of every latent frame that has not been observed yet."""

    def __init__(self) -> None:
        self._frames: dict[int, Tensor] = {}

    def imagine(self, first: int, latents: Float[Tensor, "channels frames height width"]) -> None:
        """Take in what was imagined from latent frame `first` on; what was imagined of those before is replaced."""
        for number, frame in enumerate(latents.unbind(1), first):
            self._frames[number] = frame

    def believed(self, first: int, num_frames: int) -> Float[Tensor, "channels frames height width"] | None:
        """Return what was imagined of these frames; None unless all of them were."""
        frames = [self._frames.get(number) for number in range(first, first + num_frames)]
        known = [frame for frame in frames if frame is not None]
        return torch.stack(known, dim=1) if known and len(known) == num_frames else None

    def observe(self, first: int, latents: Float[Tensor, "channels frames height width"]) -> list[float]:
        """Forget what was imagined of frames now seen; return how far it was from them.

        The distance is the root mean square over a latent frame; the spread of latents is 1. Frames of which
        nothing was imagined are left out.
        """
        distances = []
        for number, seen in enumerate(latents.unbind(1), first):
            if number in self._frames:
                distances.append((seen.cpu() - self._frames[number]).square().mean().sqrt().item())
        after = first + latents.shape[1]
        self._frames = {number: frame for number, frame in self._frames.items() if number >= after}
        return distances
