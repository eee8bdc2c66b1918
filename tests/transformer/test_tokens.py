import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.transformer.tokens import PATCH, patchify, unpatchify


@given(
    channels=st.integers(1, 4),
    frames=st.integers(1, 3),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    patch_size=st.integers(1, 4),
)
def test_unpatchify_is_the_inverse(channels: int, frames: int, rows: int, columns: int, patch_size: int) -> None:
    size = patch_size * rows, patch_size * columns
    latents = torch.randn(2, channels, frames, *size)
    tokens = patchify(latents, patch_size)
    assert tokens.shape == (2, frames, rows * columns, patch_size**2 * channels)
    assert torch.equal(unpatchify(tokens, *size, patch_size), latents)
    assert torch.equal(patchify(unpatchify(tokens, *size, patch_size), patch_size), tokens)


def test_tokens_run_along_rows_and_features_along_channel_row_column() -> None:
    latents = torch.arange(2 * 3 * 4 * 6).reshape(1, 2, 3, 4, 6).float()
    tokens = patchify(latents, PATCH)
    for frame in range(3):
        for row in range(2):
            for column in range(3):
                features = [
                    latents[0, channel, frame, 2 * row + p, 2 * column + q].item()
                    for channel in range(2)
                    for p in range(2)
                    for q in range(2)
                ]
                assert tokens[0, frame, 3 * row + column].tolist() == features
