"""The network: its video stream against diffusers' Wan, its clock and sign, its text, its size."""

import pytest
import torch
from torch import Tensor

from foreact.errors import ConfigurationError
from foreact.shards import load_strictly
from foreact.transformer.attention import ChunkedAttention
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import TransformerConfig, WorldActionModel
from foreact.transformer.tokens import StreamInput
from foreact.transformer.weight_names import from_wan


@pytest.mark.parametrize("flow_times", [[0.0, 0.0, 0.0], [0.31, 0.31, 0.31], [0.1, 0.5, 1.0]])
@torch.no_grad()
def test_video_stream_is_wan(tiny, oracle, flow_times: list[float]) -> None:
    config = tiny.sizes(canvas=(6, 4))
    wan, model = oracle.random(config), WorldActionModel(config).eval()
    ours = [pair for name, value in wan.state_dict().items() for pair in from_wan(name, value)]
    own = [pair for pair in model.state_dict().items() if pair[0].startswith("action.")]
    load_strictly(model, [*ours, *own], what="Wan")
    oracle.assert_same_velocity(model, wan, flow_times)


def teacher_forced(model: WorldActionModel, lengths: list[int], tokens: Tensor) -> list[Tensor]:
    layout = ChunkLayout(num_frames=3, frames_per_chunk=1, window=2)
    generator = torch.Generator().manual_seed(0)
    config, frames, batch = model.config, len(layout.video_frames), len(lengths)
    video = StreamInput(
        values=torch.randn(1, frames, config.video_tokens, config.patch_features, generator=generator).expand(
            batch, -1, -1, -1
        ),
        flow_time=torch.rand(1, frames, generator=generator).expand(batch, -1),
        rotary=model.video_rotary(layout.video_frames),
    )
    shape = (1, frames, config.actions_per_latent_frame, config.action_channels)
    action = StreamInput(
        values=torch.randn(shape, generator=generator).expand(batch, -1, -1, -1),
        flow_time=torch.rand(1, frames, generator=generator).expand(batch, -1),
        rotary=model.action_rotary(layout.action_frames),
    )
    text = model.read_text(tokens, torch.tensor(lengths))
    return list(model(video, action, text, ChunkedAttention(layout)))


@torch.no_grad()
def test_padding_of_an_instruction_is_not_read(tiny) -> None:
    model = tiny.model()
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randn(2, 9, 8, generator=generator)
    both = teacher_forced(model, [3, 6], tokens)
    for row, length in enumerate((3, 6)):
        alone = teacher_forced(model, [length], tokens[row : row + 1])
        for mine, oracle in zip(both, alone, strict=True):
            torch.testing.assert_close(mine[row], oracle[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_that_is_read_is_read_as_often_as_it_is_there(tiny) -> None:
    """One key with the logarithm of a count stands for all equal ones, in a batch of different lengths, too."""
    counted, plain = tiny.model(text_length=12), tiny.model()
    tokens = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(3))
    lengths = [3, 12, 0]
    for row, length in enumerate(lengths):
        tokens[row, length:] = 0
    ours, oracle = teacher_forced(counted, lengths, tokens), teacher_forced(plain, [12] * 3, tokens)
    for mine, theirs in zip(ours, oracle, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    keys = counted.read_text(tokens[:1], torch.tensor([3])).video[0].keys
    assert keys.shape[2] == 4, "three words and one key for nine zeros"


@pytest.mark.parametrize(
    "changes",
    [
        dict(backbone="shared"),
        dict(backbone="shared", action_width=24, action_ffn_dim=32),
        dict(text_length=-1),
    ],
)
def test_impossible_streams_are_refused(tiny, changes: dict) -> None:
    with pytest.raises(ConfigurationError):
        tiny.sizes(**changes)


@torch.no_grad()
def test_words_matter_and_the_empty_instruction_is_one_zero_token(tiny) -> None:
    model = tiny.model()
    tokens = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(3))
    spoken = teacher_forced(model, [4], tokens)
    empty = teacher_forced(model, [0], torch.zeros(1, 4, 8))
    zero = teacher_forced(model, [1], torch.zeros(1, 4, 8))
    for said, unsaid, one in zip(spoken, empty, zero, strict=True):
        assert torch.isfinite(unsaid).all()
        assert torch.equal(unsaid, one)
        assert not torch.allclose(said, unsaid, atol=1e-3)


@torch.no_grad()
def test_flow_time_belongs_to_its_frame(tiny) -> None:
    """A frame whose flow time changes changes; frames that cannot see it do not."""
    model = tiny.model()
    text = model.read_text(torch.zeros(1, 1, 8), torch.tensor([0]))
    layout = ChunkLayout(num_frames=3, frames_per_chunk=1, window=2)
    frames, config = layout.video_frames, model.config
    values = torch.randn(1, 5, config.video_tokens, config.patch_features)
    actions = torch.randn(1, 5, config.actions_per_latent_frame, config.action_channels)
    outs = []
    for changed in (0.2, 0.9):
        times = torch.tensor([[0.5, changed, 1, 1, 1]])
        video = StreamInput(values=values, flow_time=times, rotary=model.video_rotary(frames))
        action = StreamInput(values=actions, flow_time=times * 0 + 1, rotary=model.action_rotary(frames))
        outs.append(model(video, action, text, ChunkedAttention(layout)))
    assert torch.equal(outs[0][0][:, [0, 2, 3, 4]], outs[1][0][:, [0, 2, 3, 4]])
    assert not torch.allclose(outs[0][0][:, 1], outs[1][0][:, 1], atol=1e-3)
    assert torch.equal(outs[0][1], outs[1][1])


@torch.no_grad()
def test_an_absent_stream_has_no_velocity(tiny, oracle) -> None:
    model = tiny.model()
    text = model.read_text(torch.zeros(1, 1, 8), torch.tensor([0]))
    video = oracle.video_velocity(model, torch.randn(1, 4, 1, 4, 4), torch.tensor([[0.5]]), text)
    assert video.shape == (1, 4, 1, 4, 4)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    "changes", [{}, {"action_projection": "factorized", "action_ffn_dim": 3584}], ids=["direct", "factorized"]
)
def test_full_size(changes: dict) -> None:
    with torch.device("meta"):
        model = WorldActionModel(TransformerConfig(**changes))
    assert 4.9e9 < count(model.video) + sum(count(block) for block in model.video.blocks) < 5.1e9
    in_layers = sum(count(block) for block in model.action.blocks)
    assert 300e6 < in_layers < 450e6
    assert count(model.action) < 0.03 * in_layers


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"video_width": 25}, "video_width"),
        ({"action_width": 15}, "action_width"),
        ({"video_width": 22}, "video_width / num_heads"),
        ({"video_width": 8}, "video_width / num_heads"),
        ({"canvas": (3, 4)}, "canvas"),
        ({"canvas": (4, 5)}, "canvas"),
        ({"canvas": (0, 4)}, "canvas"),
        ({"canvas": (-4, -4)}, "canvas"),
        ({"latent_channels": -5}, "latent_channels"),
        ({"action_channels": 0}, "action_channels"),
        ({"text_dim": -5}, "text_dim"),
        ({"frequency_dim": -5}, "frequency_dim"),
        ({"actions_per_latent_frame": 0}, "actions_per_latent_frame"),
        ({"eps": float("nan")}, "eps"),
        ({"eps": -1.0}, "eps"),
    ],
)
def test_impossible_sizes_are_refused(tiny, change: dict, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        tiny.sizes(**change)


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("action_projection", "direct, factorized"),
        ("action_embedding", "mlp, linear"),
        ("backbone", "separate, shared"),
    ],
)
def test_unknown_kinds_are_refused(tiny, setting: str, allowed: str) -> None:
    config = tiny.sizes()
    object.__setattr__(config, setting, "other")  # past the type checker of the tests
    with pytest.raises(ConfigurationError, match=allowed):
        config.__post_init__()
