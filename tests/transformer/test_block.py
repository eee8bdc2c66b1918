import pytest
import torch

from foreact.transformer.block import JointProjections, modulated_norm
from foreact.transformer.positions import rotary_table


@pytest.mark.parametrize("kind", ["direct", "factorized"])
def test_queries_and_keys_are_normalised_over_the_full_joint_width(kind: str) -> None:
    """Turning keeps lengths, so with unit weights the mean square over all heads together is 1."""
    torch.manual_seed(0)
    projections = JointProjections(8, 24, 2, kind, 1e-6)
    x = torch.randn(1, 2, 3, 8)
    projected = projections.project(x, rotary_table(torch.rand(2, 3, 3, dtype=torch.float64), 12))
    assert projected.queries.shape == projected.values.shape == (1, 2, 3, 2, 12)
    for turned in (projected.queries, projected.keys):
        power = turned.flatten(-2).square().mean(-1)
        torch.testing.assert_close(power, torch.ones(1, 2, 3), atol=1e-3, rtol=0)
        assert (turned.square().mean(-1) - 1).abs().max() > 1e-2
    assert projections.back(torch.randn(1, 2, 3, 24)).shape == (1, 2, 3, 8)


def test_factorized_shares_one_way_up_and_one_way_down() -> None:
    def count(kind: str) -> int:
        return sum(p.numel() for p in JointProjections(8, 24, 2, kind, 1e-6).parameters() if p.ndim == 2)

    assert count("direct") == 4 * 8 * 24
    assert count("factorized") == 4 * 8 * 8 + 2 * 8 * 24


def test_modulated_norm() -> None:
    x = torch.randn(4, 16) * 3 + 1
    plain = modulated_norm(x, torch.zeros(16), torch.zeros(16), 1e-6)
    torch.testing.assert_close(plain.mean(-1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.var(-1, unbiased=False), torch.ones(4), atol=1e-4, rtol=0)
    shifted = modulated_norm(x, torch.full((16,), 2.0), torch.full((16,), 0.5), 1e-6)
    torch.testing.assert_close(shifted, 1.5 * plain + 2)
