"""The network: its video stream against diffusers' Wan, its clock and sign, its text, its size."""

import pytest
import torch
from diffusers import WanTransformer3DModel
from einops import rearrange
from torch import Tensor

from foreact.errors import ConfigurationError
from foreact.transformer.attention import CachedAttention, ChunkedAttention
from foreact.transformer.cache import KVCache
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import TextContext, TransformerConfig, WorldActionModel
from foreact.transformer.tokens import StreamInput, patchify, unpatchify

WAN_NAMES = {
    "condition_embedder.time_embedder.linear_1": "time_in",
    "condition_embedder.time_embedder.linear_2": "time_out",
    "condition_embedder.time_proj": "time_projection",
    "condition_embedder.text_embedder.linear_1": "text_in",
    "condition_embedder.text_embedder.linear_2": "text_out",
    ".attn1.to_out.0": ".joint.to_out",
    ".attn2.to_out.0": ".text.to_out",
    ".attn1.": ".joint.",
    ".attn2.": ".text.",
    ".norm2": ".text_norm",
    ".ffn.net.0.proj": ".ffn_in",
    ".ffn.net.2": ".ffn_out",
}


def weights_from_wan(wan: WanTransformer3DModel) -> dict[str, Tensor]:
    """Wan's weights under the names and in the feature order of our video stream."""
    ours = {}
    for name, value in wan.state_dict().items():
        if name == "scale_shift_table":
            ours["head_table"] = value[0]
        elif name.endswith("scale_shift_table"):
            ours[name.replace("scale_shift_table", "modulation_table")] = value[0]
        elif name.startswith("patch_embedding"):
            ours[name.replace("patch_embedding", "embed")] = value.flatten(1) if value.ndim > 1 else value
        elif name.startswith("proj_out"):
            # Wan's features run (row, column, channel), ours (channel, row, column).
            reordered = rearrange(value, "(p q c) ... -> (c p q) ...", p=2, q=2)
            ours[name.replace("proj_out", "head")] = reordered
        else:
            for theirs, mine in WAN_NAMES.items():
                name = name.replace(theirs, mine)
            ours[name] = value
    return ours


def random_wan(config: TransformerConfig) -> WanTransformer3DModel:
    wan = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        text_dim=config.text_dim,
        freq_dim=config.frequency_dim,
        ffn_dim=config.video_ffn_dim,
        num_layers=config.num_layers,
        cross_attn_norm=True,
        eps=config.eps,
    ).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in wan.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return wan


def video_velocity(model: WorldActionModel, latents: Tensor, flow_time: Tensor, text: TextContext) -> Tensor:
    """One chunk of video with nothing before it: full attention."""
    config = model.config
    cache = KVCache(
        num_layers=config.num_layers,
        batch=len(latents),
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        window=1,
        video_tokens=config.video_tokens,
        action_tokens=config.actions_per_latent_frame,
        scratch_frames=latents.shape[2],
    )
    rotary = model.video_rotary(torch.arange(latents.shape[2]))
    given = StreamInput(values=patchify(latents), flow_time=flow_time, rotary=rotary)
    velocity, _ = model(given, None, text, CachedAttention(cache))
    return unpatchify(velocity, *config.canvas)


@pytest.mark.parametrize("flow_times", [[0.0, 0.0, 0.0], [0.31, 0.31, 0.31], [0.1, 0.5, 1.0]])
@torch.no_grad()
def test_video_stream_is_wan(tiny, flow_times: list[float]) -> None:
    config = tiny.sizes(canvas=(6, 4))
    wan, model = random_wan(config), WorldActionModel(config).eval()
    model.video.load_state_dict(weights_from_wan(wan), strict=True)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 3, 6, 4, generator=generator)
    text = torch.randn(1, 5, config.text_dim, generator=generator)
    times = torch.tensor([flow_times])
    ours = video_velocity(model, latents, times, model.read_text(text, torch.tensor([5])))
    timestep = (1000 * (1 - times)).repeat_interleave(config.video_tokens, dim=1)
    theirs = wan(latents, timestep=timestep, encoder_hidden_states=text, return_dict=False)[0]
    torch.testing.assert_close(ours, -theirs, atol=1e-4, rtol=1e-4)


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
def test_an_absent_stream_has_no_velocity(tiny) -> None:
    model = tiny.model()
    text = model.read_text(torch.zeros(1, 1, 8), torch.tensor([0]))
    video = video_velocity(model, torch.randn(1, 4, 1, 4, 4), torch.tensor([[0.5]]), text)
    assert video.shape == (1, 4, 1, 4, 4)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    "changes", [{}, {"action_projection": "factorized", "action_ffn_dim": 3584}], ids=["direct", "factorized"]
)
def test_full_size(changes: dict) -> None:
    with torch.device("meta"):
        model = WorldActionModel(TransformerConfig(**changes))
    assert 4.9e9 < count(model.video) < 5.1e9
    assert 300e6 < count(model.action.blocks) < 450e6
    assert count(model.action) < 1.03 * count(model.action.blocks)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"video_width": 25}, "video_width"),
        ({"action_width": 15}, "action_width"),
        ({"video_width": 22}, "video_width / num_heads"),
        ({"video_width": 8}, "video_width / num_heads"),
        ({"canvas": (3, 4)}, "canvas"),
        ({"canvas": (4, 5)}, "canvas"),
    ],
)
def test_impossible_sizes_are_refused(tiny, change: dict, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        tiny.sizes(**change)


def test_unknown_projections_are_refused(tiny) -> None:
    config = tiny.sizes()
    object.__setattr__(config, "action_projection", "shared")  # past the type checker of the tests
    with pytest.raises(ConfigurationError, match="direct, factorized"):
        config.__post_init__()
