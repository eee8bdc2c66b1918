"""Rotary positions over (latent frame, row, column), shared by both streams."""

from dataclasses import dataclass

import torch
from jaxtyping import Complex64, Float, Real
from torch import Tensor

ROTARY_BASE = 10000.0
ACTION_ROW = -1.0
"""Row and column of every action token: outside the picture."""


@dataclass(frozen=True)
class RotaryTable:
    """The turn of every pair of features, as a complex number; float32 parts whatever the network's precision."""

    turns: Complex64[Tensor, "*batch frames tokens half_head"]
    """One table for a whole batch, or one for each of its rows."""

    def first_frames(self, number: int | None) -> "RotaryTable":
        """Return the table of the first latent frames."""
        return RotaryTable(self.turns[..., :number, :, :])


def stack_tables(tables: list[RotaryTable], rows: int) -> RotaryTable:
    """Return one table for a batch that holds `rows` rows for each of the given ones; one alone serves any batch."""
    if len(tables) == 1:
        return tables[0]
    return RotaryTable(torch.stack([table.turns for table in tables]).repeat_interleave(rows, dim=0))


def rotary_split(head_dim: int) -> tuple[int, int, int]:
    """Return how many of a head's features turn with the frame, the row and the column.

    Source: Wan's split, which at 32 and 128 features equals the released code's thirds.
    """
    third = 2 * (head_dim // 6)
    return head_dim - 2 * third, third, third


def video_positions(frames: Real[Tensor, " frames"], rows: int, columns: int) -> Float[Tensor, "frames tokens 3"]:
    """Return the coordinates of video tokens, in order (row, column) within each latent frame."""
    grid = torch.cartesian_prod(
        torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64)
    ).reshape(rows * columns, 2)
    time = frames.double()[:, None, None].expand(-1, len(grid), 1)
    return torch.cat([time, grid.expand(len(frames), -1, -1)], dim=-1)


def action_positions(frames: Real[Tensor, " frames"], num_actions: int) -> Float[Tensor, "frames tokens 3"]:
    """Return the coordinates of action tokens: action j of n sits at frame f + (j + 1) / (n + 1).

    Source: the released code, which numbers actions by the latent frame they lead to.
    """
    offset = torch.arange(1, num_actions + 1, dtype=torch.float64) / (num_actions + 1)
    time = frames.double()[:, None] + offset
    outside = torch.full_like(time, ACTION_ROW)
    return torch.stack([time, outside, outside], dim=-1)


def rotary_table(
    positions: Float[Tensor, "frames tokens 3"], head_dim: int, device: torch.device | None = None
) -> RotaryTable:
    """Return the table for tokens at `positions`.

    Angles are taken in float64: after hours of control the frame number is large, and float32 angles would lose
    the fine differences between neighbouring frames.
    """
    angles = []
    for axis, size in enumerate(rotary_split(head_dim)):
        frequency = ROTARY_BASE ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles.append(positions[..., axis, None].double() * frequency)
    angle = torch.cat(angles, dim=-1)
    return RotaryTable(torch.polar(torch.ones_like(angle), angle).to(device, torch.complex64))


def rotate(x: Float[Tensor, "batch frames tokens heads head_dim"], table: RotaryTable) -> Tensor:
    """Return queries or keys turned by their positions; neighbouring features form one complex number."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table.turns.unsqueeze(-2)).flatten(-2).to(x.dtype)
