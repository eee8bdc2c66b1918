"""What is done to a network besides compiling it; what is compiled is run by tests/policy/test_compiled.py."""

import pytest
import torch
from torch import nn

from foreact.errors import ConfigurationError
from foreact.transformer.attention import ChunkedAttention
from foreact.transformer.compilation import TEXT_MULTIPLE, compile_layers, padded
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import TextContext, WorldActionModel
from foreact.transformer.tokens import StreamInput

SHARED = dict(backbone="shared", action_width=24, action_ffn_dim=32, action_embedding="linear")


def velocities(model: WorldActionModel, text: TextContext) -> tuple[torch.Tensor, ...]:
    layout = ChunkLayout(num_frames=3, frames_per_chunk=1, window=2)
    generator, config = torch.Generator().manual_seed(0), model.config
    inputs = []
    for frames, tokens, features, rotary in (
        (layout.video_frames, config.video_tokens, config.patch_features, model.video_rotary),
        (layout.action_frames, config.actions_per_latent_frame, config.action_channels, model.action_rotary),
    ):
        values = torch.randn(2, len(frames), tokens, features, generator=generator)
        flow_time = torch.rand(2, len(frames), generator=generator)
        inputs.append(StreamInput(values=values, flow_time=flow_time, rotary=rotary(frames)))
    return model(*inputs, text, ChunkedAttention(layout))


@pytest.mark.parametrize("text_length", [0, 200], ids=["padding hidden", "padding read"])
@torch.no_grad()
def test_hidden_keys_change_nothing(tiny, text_length: int) -> None:
    model = tiny.model(text_length=text_length)
    tokens = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(3))
    text = model.read_text(tokens, torch.tensor([4, 9]))
    more = TextContext([padded(keys) for keys in text.video], [padded(keys) for keys in text.action])
    assert more.video[0].keys.shape[2] == more.action[0].values.shape[2] == TEXT_MULTIPLE
    for mine, plain in zip(velocities(model, more), velocities(model, text), strict=True):
        torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", [{}, SHARED], ids=["separate", "shared"])
@torch.no_grad()
def test_instructions_of_all_lengths_have_one_shape(tiny, backbone: dict) -> None:
    model = tiny.model(**backbone)
    compile_layers(model)
    for length in (1, 9, TEXT_MULTIPLE):
        text = model.read_text(torch.randn(1, length, 8), torch.tensor([length]))
        assert {keys.keys.shape[2] for keys in (*text.video, *text.action)} == {TEXT_MULTIPLE}
        assert (text.video is text.action) == bool(backbone), "what both streams share is padded once"
    longer = model.read_text(torch.randn(1, TEXT_MULTIPLE + 1, 8), torch.tensor([TEXT_MULTIPLE + 1]))
    assert longer.video[0].bias.shape == (1, 1, 1, 2 * TEXT_MULTIPLE)


def test_weights_keep_their_names(tiny) -> None:
    model = tiny.model()
    before = list(model.state_dict())
    compile_layers(model)
    assert list(model.state_dict()) == before


def test_offloaded_layers_are_refused(tiny) -> None:
    model = tiny.model()
    linear = next(module for module in model.modules() if isinstance(module, nn.Linear))
    linear._hf_hook = object()  # what accelerate leaves on a module that visits the device
    with pytest.raises(ConfigurationError, match="offloaded"):
        compile_layers(model)
