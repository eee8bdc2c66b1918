"""The faster kernels of the video VAE compute what diffusers' own layers do."""

import copy

import pytest
import torch

from foreact.codecs.cpu_kernels import FastCausalConv3d, FastChannelNorm, use_cpu_kernels
from foreact.from_diffusers import WanCausalConv3d, WanRMS_norm

CONVOLUTIONS = [((3, 3, 3), 1, 1), ((3, 1, 1), (2, 1, 1), 0), ((1, 1, 1), 1, 0), ((3, 1, 1), 1, (1, 0, 0))]


def random(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def pair(module: torch.nn.Module) -> tuple[torch.nn.Module, torch.nn.Module]:
    plain = random(module)
    fast = torch.nn.Sequential(copy.deepcopy(plain))
    use_cpu_kernels(fast)
    return plain, fast[0]


@pytest.mark.parametrize(("kernel", "stride", "padding"), CONVOLUTIONS)
@pytest.mark.parametrize("batch", [1, 2])
def test_convolutions_agree_with_and_without_a_past(kernel, stride, padding, batch: int) -> None:
    plain, fast = pair(WanCausalConv3d(4, 6, kernel, stride=stride, padding=padding))
    assert type(fast) is FastCausalConv3d and isinstance(fast, WanCausalConv3d)
    clip, past = torch.randn(batch, 4, 5, 8, 6), torch.randn(batch, 4, 2, 8, 6)
    for given in (None, past):
        with torch.no_grad():
            torch.testing.assert_close(fast(clip, given), plain(clip, given), atol=2e-5, rtol=1e-4)


def test_norms_agree_where_all_is_zero_too() -> None:
    plain, fast = pair(WanRMS_norm(4, images=False))
    assert type(fast) is FastChannelNorm
    clip = torch.randn(2, 4, 3, 5, 6)
    clip[0, :, 1] = 0
    with torch.no_grad():
        torch.testing.assert_close(fast(clip), plain(clip), atol=1e-6, rtol=1e-5)


def test_gradients_take_the_plain_way() -> None:
    for module in (WanCausalConv3d(4, 6, 3, padding=1), WanRMS_norm(4, images=False)):
        plain, fast = pair(module)
        clip = torch.randn(1, 4, 5, 8, 6)
        results = []
        for each in (plain, fast):
            given = clip.clone().requires_grad_()
            each(given).square().sum().backward()
            results.append(given.grad)
        assert torch.equal(*results)


def test_other_kinds_of_number_take_the_plain_way() -> None:
    plain, fast = pair(WanCausalConv3d(4, 6, 3, padding=1))
    clip = torch.randn(1, 4, 5, 8, 6).double()
    with torch.no_grad():
        assert torch.equal(fast.double()(clip), plain.double()(clip))


def test_names_of_weights_stay(tiny) -> None:
    before = list(tiny.vae().autoencoder.state_dict())
    assert "encoder.conv_in.weight" in before
    assert any(isinstance(module, FastCausalConv3d) for module in tiny.vae().autoencoder.modules())
