import torch
from hypothesis import given
from hypothesis import strategies as st

from foreact.flow.guidance import guide


@given(scale=st.floats(-2, 9))
def test_guidance_is_linear_between_the_branches(scale: float) -> None:
    conditional, unconditional = torch.tensor([3.0, -1.0]), torch.tensor([1.0, 1.0])
    guided = guide(conditional, unconditional, scale)
    torch.testing.assert_close(guided, torch.tensor([1 + 2 * scale, 1 - 2 * scale]))


def test_scale_one_is_no_guidance_and_zero_is_unconditional() -> None:
    conditional, unconditional = torch.randn(8), torch.randn(8)
    torch.testing.assert_close(guide(conditional, unconditional, 1.0), conditional)
    assert torch.equal(guide(conditional, unconditional, 0.0), unconditional)


@given(scale=st.floats(0, 9))
def test_equal_branches_are_left_alone(scale: float) -> None:
    velocity = torch.randn(8)
    assert torch.equal(guide(velocity, velocity, scale), velocity)
