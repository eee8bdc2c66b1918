"""Strict: nothing unknown, nothing missing, nothing of another shape."""

import pytest
import torch
from torch import Tensor, nn

from foreact.errors import CheckpointError
from foreact.shards import load_strictly


class Toy(nn.Module):
    def __init__(self, *, tied: bool = False):
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.table = nn.Parameter(torch.randn(2, 3), requires_grad=False)
        self.register_buffer("steps", torch.tensor([1, 2, 3]))
        self.last = nn.Linear(3, 2, bias=False)
        if tied:
            self.last.weight = self.inner.weight


def on_meta(**settings: bool) -> Toy:
    with torch.device("meta"):
        return Toy(**settings)


def refused(weights: list[tuple[str, Tensor]], module: nn.Module | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_strictly(module or on_meta(), weights, what="the toy in x/")
    return str(caught.value)


@pytest.mark.parametrize("build", [on_meta, Toy])
def test_every_tensor_finds_its_place(build) -> None:
    source, module = Toy(), build()
    load_strictly(module, source.state_dict().items(), what="toy")
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in module.state_dict().items())
    assert [p.requires_grad for p in module.parameters()] == [p.requires_grad for p in Toy().parameters()]
    assert isinstance(module.inner.weight, nn.Parameter)
    x = torch.randn(4, 3)
    torch.testing.assert_close(module.inner(x), source.inner(x))


def test_values_are_converted_and_counts_are_not() -> None:
    module = on_meta()
    load_strictly(module, Toy().state_dict().items(), what="toy", dtype=torch.bfloat16, device="cpu")
    assert module.inner.weight.dtype == torch.bfloat16
    assert module.state_dict()["steps"].dtype == torch.int64


def test_without_a_type_they_stay_as_they_come() -> None:
    module = Toy()
    load_strictly(module, ((n, v.double()) for n, v in Toy().state_dict().items()), what="toy")
    assert module.inner.weight.dtype == torch.float64


def test_tied_weights_come_once_and_stay_tied() -> None:
    source, module = Toy(tied=True), on_meta(tied=True)
    weights = source.state_dict()
    del weights["inner.weight"]
    load_strictly(module, weights.items(), what="toy")
    assert module.inner.weight is module.last.weight
    assert torch.equal(module.last.weight, source.last.weight)


def test_a_missing_tensor_is_named() -> None:
    weights = [(name, value) for name, value in Toy().state_dict().items() if name != "inner.bias"]
    message = refused(weights)
    assert "the toy in x/; got: missing: inner.bias;" in message
    assert "exactly 5 tensors" in message


def test_an_unknown_tensor_is_named() -> None:
    assert "got: unknown: extra.weight;" in refused([*Toy().state_dict().items(), ("extra.weight", torch.zeros(1))])


def test_a_wrong_shape_is_named_with_the_right_one() -> None:
    weights = Toy().state_dict() | {"inner.weight": torch.zeros(3, 2)}
    assert "wrong shape: inner.weight [3, 2] where [2, 3] is allowed;" in refused(list(weights.items()))


def test_a_tensor_that_comes_twice_is_named() -> None:
    assert "got: tensor steps twice" in refused([*Toy().state_dict().items(), ("steps", torch.tensor([1, 2, 3]))])


def test_only_the_first_few_are_named() -> None:
    message = refused([(f"extra{number}", torch.zeros(1)) for number in range(9)])
    assert "extra0, extra1, extra2, extra3, extra4 and 4 more" in message
    assert "missing: inner.bias" in message
