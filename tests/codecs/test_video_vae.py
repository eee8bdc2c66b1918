import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from foreact.codecs.pixels import pixels_from_frames
from foreact.codecs.video_vae import VideoVAE
from foreact.errors import ConfigurationError, InputError

GOLDEN = Path(__file__).parents[1] / "golden"
LATENTS = torch.randn(2, 3, 5, 2, 3, generator=torch.Generator().manual_seed(2))


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    assert got.shape == wanted.shape
    return ((got - wanted).norm() / wanted.norm()).item()


def statistics(vae: VideoVAE) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = (torch.tensor(vae.autoencoder.config[f"latents_{name}"]) for name in ("mean", "std"))
    return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


def splits(total: int):
    """How `total` groups may arrive: the sizes of the calls."""
    return st.lists(st.integers(1, total), min_size=1, max_size=total).map(
        lambda sizes: [size for i, size in enumerate(sizes) if sum(sizes[: i + 1]) <= total]
    )


def test_whole_clip_equals_diffusers_own_encoder_and_decoder(vae: VideoVAE, clip: torch.Tensor):
    mean, std = statistics(vae)
    with torch.no_grad():
        latents = (vae.autoencoder.encode(clip).latent_dist.mode() - mean) / std
        pixels = vae.autoencoder.decode(LATENTS * std + mean).sample
    assert relative_error(vae.encode(clip), latents) < 1e-5
    assert relative_error(vae.decode(LATENTS), pixels) < 1e-5


@settings(max_examples=12, deadline=None)
@given(first=st.integers(0, 4), sizes=splits(4))
def test_streamed_encoding_equals_whole_clip_for_any_split(
    first: int, sizes: list[int], vae: VideoVAE, clip: torch.Tensor
):
    stream = vae.start_stream()
    edges = [0, 1 + 4 * first]
    edges += [min(edges[1] + 4 * sum(sizes[: i + 1]), 17) for i in range(len(sizes))]
    pieces = [stream.encode(clip[:, :, a:b]) for a, b in pairwise(edges) if a < b]
    assert relative_error(torch.cat(pieces, dim=2), vae.encode(clip[:, :, : edges[-1]])) < 1e-5


@settings(max_examples=12, deadline=None)
@given(sizes=splits(5))
def test_streamed_decoding_equals_whole_clip_for_any_split(sizes: list[int], vae: VideoVAE):
    stream = vae.start_decoder_stream()
    pieces = [stream.decode(piece) for piece in LATENTS[:, :, : sum(sizes)].split(sizes, dim=2)]
    assert relative_error(torch.cat(pieces, dim=2), vae.decode(LATENTS[:, :, : sum(sizes)])) < 1e-5


def test_streams_that_share_a_network_do_not_mix(vae: VideoVAE, clip: torch.Tensor):
    one, other = vae.start_stream(), vae.start_stream()
    one.encode(clip[:, :, :1])
    other.encode(-clip[:, :, :1])
    later = one.encode(clip[:, :, 1:5])
    assert relative_error(later, vae.encode(clip[:, :, :5])[:, :, 1:]) < 1e-5


def test_history_matters(vae: VideoVAE, clip: torch.Tensor):
    """Guards the streaming tests: without the cache the second latent frame is another."""
    fresh = vae.encode(clip[:, :, 4:5])
    assert relative_error(fresh, vae.encode(clip[:, :, :5])[:, :, 1:]) > 1e-2


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_copied_stream_leaves_the_original_as_it_was(kind: str, vae: VideoVAE, clip: torch.Tensor):
    if kind == "encoder":
        stream, verb, source, wanted = (
            vae.start_stream(),
            "encode",
            clip,
            vae.encode(clip[:, :, :5])[:, :, 1:],
        )
        first, second = source[:, :, :1], source[:, :, 1:5]
    else:
        stream, verb, source = vae.start_decoder_stream(), "decode", LATENTS
        first, second = source[:, :, :1], source[:, :, 1:2]
        wanted = vae.decode(source[:, :, :2])[:, :, 1:]
    getattr(stream, verb)(first)
    look_ahead = stream.copy()
    getattr(look_ahead, verb)(-second)
    assert relative_error(getattr(stream, verb)(second), wanted) < 1e-5


def test_factors_follow_from_the_network(vae: VideoVAE, clip: torch.Tensor):
    assert (vae.spatial_factor, vae.temporal_factor, vae.num_channels) == (8, 4, 3)
    latents = vae.encode(clip)
    assert latents.shape == (2, 3, 5, 2, 3)
    assert vae.decode(latents).shape == clip.shape
    assert vae.decode(100 * latents).abs().max() == 1


def test_statistics_stay_float32_in_a_half_precision_network(build_vae):
    mean, std = build_vae(latents_mean=[0.1234567, 0.0, 0.0]).to(torch.bfloat16).latent_statistics()
    assert mean.dtype == std.dtype == torch.float32
    assert mean[0].item() == pytest.approx(0.1234567, abs=1e-8)


@pytest.mark.parametrize("shape", [(1, 3, 4, 16, 16), (1, 3, 1, 12, 16), (1, 3, 1, 16, 12), (1, 3, 0, 16, 16)])
def test_pixels_that_do_not_fit_are_refused(shape: tuple[int, ...], vae: VideoVAE):
    with pytest.raises(InputError, match=r"pixels to encode.*1 \+ 4 \* m"):
        vae.encode(torch.zeros(shape))


def test_a_later_call_takes_whole_groups(vae: VideoVAE, clip: torch.Tensor):
    stream = vae.start_stream()
    stream.encode(clip[:, :, :1])
    with pytest.raises(InputError, match="lone first frame"):
        stream.encode(clip[:, :, :5])


@pytest.mark.parametrize("shape", [(1, 4, 1, 2, 2), (1, 3, 0, 2, 2)])
def test_latents_that_do_not_fit_are_refused(shape: tuple[int, ...], vae: VideoVAE):
    with pytest.raises(InputError, match="latents to decode"):
        vae.decode(torch.zeros(shape))


@pytest.mark.parametrize(
    "statistics_", [{"latents_mean": [0.0]}, {"latents_std": [1.0, 0.0, 1.0]}, {"latents_std": [math.nan] * 3}]
)
def test_statistics_that_do_not_fit_are_refused(statistics_: dict, build_vae):
    with pytest.raises(ConfigurationError, match="latents_mean and latents_std"):
        build_vae(**statistics_)


@pytest.mark.parametrize("layout", ["side_by_side", "t_shape"])
def test_published_layouts_are_reproduced(layout: str):
    """Every camera is encoded by itself; the latents are laid out, not the pixels."""
    published = VideoVAE.from_pretrained(GOLDEN / layout / "vae")
    trace = load_file(GOLDEN / layout / "trace.safetensors")
    cameras = json.loads((GOLDEN / layout / "trace.json").read_text())["cameras"]
    assert (published.spatial_factor, published.temporal_factor, published.num_channels) == (16, 4, 48)
    latents = [published.encode(pixels_from_frames(trace[f"frames.init.{camera}"])) for camera in cameras]
    if layout == "side_by_side":
        picture = torch.cat(latents, dim=-1)
    else:
        head, *wrists = latents
        picture = torch.cat([torch.cat(wrists, dim=-1), head], dim=-2)
    assert relative_error(picture, trace["init_latent"]) < 1e-4


@pytest.mark.parametrize("layout", ["side_by_side", "t_shape"])
def test_later_golden_chunks_streamed_equal_the_whole_episode(layout: str):
    published = VideoVAE.from_pretrained(GOLDEN / layout / "vae")
    trace = load_file(GOLDEN / layout / "trace.safetensors")
    camera = "observation.images.cam1"
    chunks = [pixels_from_frames(trace[f"frames.{name}.{camera}"]) for name in ("init", "chunk0", "chunk1", "chunk2")]
    stream = published.start_stream()
    streamed = torch.cat([stream.encode(chunk) for chunk in chunks], dim=2)
    with torch.no_grad():
        whole = published.autoencoder.encode(torch.cat(chunks, dim=2)).latent_dist.mode()
    mean, std = statistics(published)
    assert relative_error(streamed, (whole - mean) / std) < 1e-5
