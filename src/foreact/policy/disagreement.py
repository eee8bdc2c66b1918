"""What was imagined of each latent frame until it is seen, and how far the two are apart."""

import torch
from jaxtyping import Float
from torch import Tensor


def frame_distances(
    imagined: Float[Tensor, "channels frames height width"], seen: Float[Tensor, "channels frames height width"]
) -> Float[Tensor, " frames"]:
    """Return the root mean square difference of each latent frame; the spread of latents is 1."""
    return (seen - imagined).square().mean(dim=(0, 2, 3)).sqrt()


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
        """Forget what was imagined of frames now seen; return how far it was from them (`frame_distances`).

        Frames of which nothing was imagined are left out.
        """
        numbers = range(first, first + latents.shape[1])
        known = [place for place, number in enumerate(numbers) if number in self._frames]
        imagined = [self._frames[numbers[place]] for place in known]
        self._frames = {number: frame for number, frame in self._frames.items() if number >= numbers.stop}
        return frame_distances(torch.stack(imagined, dim=1), latents[:, known].cpu()).tolist() if known else []
