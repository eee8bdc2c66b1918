"""The video VAE's figures: against published counts, and against the real one at work."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foreact.cost.live_bytes import LiveBytes
from foreact.cost.video_vae import WAN22, describe_video_vae
from foreact.embodiments import CameraLayout

ROBOTWIN = CameraLayout(kind="t_shape", cameras=("head", "left", "right"), height=256, width=320)


def test_wans_counts_and_work_are_the_known_ones():
    vae = describe_video_vae(WAN22, ROBOTWIN, 2)
    assert vae.encoder_parameters == pytest.approx(150e6, rel=0.01)
    assert vae.decoder_parameters == pytest.approx(555e6, rel=0.01)
    assert vae.encode.flops == pytest.approx(3.4e12, rel=0.02)
    assert vae.parameters == vae.encoder_parameters + vae.decoder_parameters


@torch.no_grad()
def test_a_small_one_costs_what_torch_counts_while_it_runs(tiny):
    vae, layout = tiny.vae(), tiny.embodiment().layout
    described = describe_video_vae(dict(vae.autoencoder.config), layout, 2)
    streams = [vae.start_stream() for _ in layout.cameras]
    for stream in streams:
        stream.encode(torch.zeros(1, 3, 1, 16, 8))
    # torch does not count oneDNN's own convolution, so diffusers' way is taken.
    plain = torch.backends.mkldnn.flags(enabled=False)
    with plain, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for stream in streams:
            stream.encode(torch.zeros(1, 3, 4, 16, 8))
    assert described.encode.flops == counter.get_total_flops()
    assert described.encode.num_bytes == 2 * 2 * described.encoder_parameters, "read once for each camera"
    assert described.parameters == sum(p.numel() for p in vae.parameters())


@torch.no_grad()
def test_activations_are_those_of_one_camera_at_work(tiny, monkeypatch):
    """The attention inside runs as one kernel; on the meta device it would be taken apart."""
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda queries, keys, values: torch.empty_like(queries))
    vae, layout = tiny.vae().bfloat16(), CameraLayout(kind="side_by_side", cameras=("top",), height=64, width=64)
    described = describe_video_vae(dict(vae.autoencoder.config), layout, 2)
    stream = vae.start_stream()
    with LiveBytes() as memory:
        stream.encode(torch.zeros(1, 3, 1, 64, 64))
        stream.encode(torch.zeros(1, 3, 4, 64, 64))
    assert described.activation_bytes == pytest.approx(memory.peak, rel=0.2)
