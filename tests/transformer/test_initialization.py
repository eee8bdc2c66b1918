import inspect

import pytest
import torch
from torch import nn

from foreact.errors import ConfigurationError
from foreact.transformer.initialization import cut_weight, initialize, resize_weight
from foreact.transformer.model import WorldActionModel

RATIOS = [(96, 96), (96, 72), (96, 48), (96, 40), (96, 24)]


def fresh_matrix(rows: int, columns: int) -> torch.Tensor:
    matrix = torch.empty(rows, columns)
    nn.init.xavier_uniform_(matrix, generator=torch.Generator().manual_seed(0))
    return matrix


@pytest.mark.parametrize(("wide", "narrow"), RATIOS)
def test_interpolated_matrices_keep_the_output_variance(wide: int, narrow: int) -> None:
    """From wide to wide before; from narrow to narrow after."""
    big = fresh_matrix(wide, wide)
    small = resize_weight(big, (narrow, narrow))
    generator = torch.Generator().manual_seed(1)
    before = (torch.randn(4000, wide, generator=generator) @ big.T).var().item()
    after = (torch.randn(4000, narrow, generator=generator) @ small.T).var().item()
    assert 0.5 < after / before < 2


@pytest.mark.parametrize(("wide", "narrow"), RATIOS)
def test_so_do_matrices_of_which_one_side_stays(wide: int, narrow: int) -> None:
    big = fresh_matrix(wide, wide)
    generator = torch.Generator().manual_seed(1)
    full = torch.randn(4000, wide, generator=generator)
    cut = torch.randn(4000, narrow, generator=generator)
    before = (full @ big.T).var().item()
    assert 0.5 < (full @ resize_weight(big, (narrow, wide)).T).var().item() / before < 2
    assert 0.5 < (cut @ resize_weight(big, (wide, narrow)).T).var().item() / before < 2


def test_equal_shapes_are_copied_and_vectors_keep_their_ends() -> None:
    matrix = fresh_matrix(12, 10)
    assert torch.equal(resize_weight(matrix, (12, 10)), matrix)
    vector = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    torch.testing.assert_close(resize_weight(vector, (3,)), torch.tensor([1.0, 3.0, 5.0]))
    table = torch.stack([vector, 10 * vector])
    torch.testing.assert_close(resize_weight(table, (2, 3)), torch.tensor([[1.0, 3.0, 5.0], [10.0, 30.0, 50.0]]))


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize("action", ["interpolated", "copied", "random"])
def test_the_seed_decides(tiny, action: str) -> None:
    models = [WorldActionModel(tiny.sizes()) for _ in range(3)]
    for model, seed in zip(models, (3, 3, 4), strict=True):
        initialize(model, seed=seed, action=action)
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(models[2]))
    assert torch.isfinite(weights(models[0])).all()


@pytest.mark.parametrize("projection", ["direct", "factorized"])
def test_action_layers_come_from_the_video_stream(tiny, projection: str) -> None:
    """Of equal width they are the video stream's own; what only actions have is not."""
    sizes = {"action_width": 24, "action_ffn_dim": 32, "action_projection": projection}
    model = WorldActionModel(tiny.sizes(**sizes))
    initialize(model, seed=0)
    video, action = model.video.blocks[1], model.action.blocks[1]
    assert torch.equal(video.ffn_in.weight, action.ffn_in.weight)
    assert torch.equal(video.joint.to_q.weight, action.joint.to_q.weight)
    assert torch.equal(video.modulation_table, action.modulation_table)
    assert torch.equal(model.video.time_projection.weight, model.action.time_projection.weight)
    assert not torch.equal(model.action.embed_out.weight, torch.zeros(24, 24))
    initialize(model, seed=0, action="random")
    assert not torch.equal(video.ffn_in.weight, action.ffn_in.weight)


def test_a_plain_copy_is_the_corner_of_the_matrix(tiny) -> None:
    model = WorldActionModel(tiny.sizes())
    initialize(model, seed=0, action="copied")
    video, action = model.video.blocks[0], model.action.blocks[0]
    assert torch.equal(action.ffn_in.weight, video.ffn_in.weight[:24, :16])
    assert torch.equal(action.modulation_table, video.modulation_table[:, :16])
    assert torch.equal(cut_weight(torch.arange(5.0), (3,)), torch.arange(3.0))


def test_unknown_ways_are_refused(tiny) -> None:
    unchecked = inspect.unwrap(initialize)
    with pytest.raises(ConfigurationError, match="interpolated"):
        unchecked(WorldActionModel(tiny.sizes()), seed=0, action="zero")
