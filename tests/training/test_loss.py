from dataclasses import replace

import pytest
import torch
from torch import Tensor

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import Batch, collate
from foreact.training.corruption import CorruptedBatch, CorruptionConfig, corrupt
from foreact.training.loss import Losses, network_inputs, velocity_losses
from foreact.transformer.attention import MaskedAttention
from foreact.transformer.masks import ChunkLayout
from foreact.transformer.model import WorldActionModel
from foreact.transformer.tokens import patchify

LAYOUT = ChunkLayout(num_frames=7, frames_per_chunk=2, window=3)


@pytest.fixture(scope="module")
def mask(tiny) -> Tensor:
    return torch.from_numpy(tiny.embodiment().channel_mask.copy())


@pytest.fixture(scope="module")
def model(tiny) -> WorldActionModel:
    return tiny.model()


def corrupted(batch: Batch, layout: ChunkLayout = LAYOUT) -> CorruptedBatch:
    seeds = [torch.Generator().manual_seed(n) for n in range(len(batch.instructions))]
    return corrupt(batch, layout, CorruptionConfig(), seeds, max_frames=8)


def losses(model, batch: Batch, noised: CorruptedBatch, layout=LAYOUT, **changes) -> Losses:
    text = HashedWordEncoder(dim=8).encode(list(batch.instructions))
    context = model.read_text(text.tokens, text.lengths)
    return velocity_losses(model, batch, noised, context, layout, **changes)


def total_and_gradients(model, *given, **changes) -> tuple[Losses, dict[str, Tensor]]:
    model.zero_grad(set_to_none=True)
    result = losses(model, *given, **changes)
    (result.dynamics + result.inverse).sum().backward()
    unused = {name: torch.zeros_like(p) for name, p in model.named_parameters() if p.grad is None}
    return result, unused | {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_close(one, other, tolerance: float = 1e-5) -> None:
    for mine, theirs in zip(vars(one[0]).values(), vars(other[0]).values(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=tolerance)
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], atol=tolerance, rtol=tolerance)


def test_it_is_the_mean_squared_error_of_what_counts(tiny, model, mask) -> None:
    """Written out: no mask, no broadcasting, sample by sample."""
    batch = collate([tiny.sequence(7, seed=1), tiny.sequence(5, seed=2)])
    valid = batch.action_valid.clone()
    valid[0, 6, 2:] = False
    batch = replace(batch, action_valid=valid)
    noised = corrupted(batch)
    result = losses(model, batch, noised)
    text = HashedWordEncoder(dim=8).encode(list(batch.instructions))
    video, action = network_inputs(model, noised, LAYOUT)
    attention = MaskedAttention(LAYOUT)
    velocities = model(video, action, model.read_text(text.tokens, text.lengths), attention)
    target = patchify(noised.video.velocity.transpose(1, 2), model.config.patch_size)
    for row, count in enumerate((7, 5)):
        squares = [(velocities[0][row, f] - target[row, f]).square().mean() for f in range(count - 1)]
        torch.testing.assert_close(result.dynamics[row], torch.stack(squares).mean())
        squares = [
            (velocities[1][row, f, j, c] - noised.action.velocity[row, f, j, c]) ** 2
            for f in range(count - 1)
            for j in range(4)
            for c in range(30)
            if mask[c] and valid[row, f + 1, j]
        ]
        torch.testing.assert_close(result.inverse[row], torch.stack(squares).mean())


@pytest.mark.parametrize(
    "mode", [{}, {"imagines": False}, {"forward_dynamics": True}], ids=["policy", "reactive", "forward dynamics"]
)
def test_fast_path_equals_the_mask(tiny, model, mode: dict) -> None:
    layout = replace(LAYOUT, **mode)
    batch = collate([tiny.sequence(7, seed=n) for n in range(2)])
    noised = corrupted(batch, layout)
    fast = total_and_gradients(model, batch, noised, layout)
    slow = total_and_gradients(model, batch, noised, layout, attention=MaskedAttention(layout))
    assert_close(fast, slow)
    assert (fast[0].dynamics > 0).all() == layout.imagines
    assert (fast[0].inverse > 0).all() != layout.forward_dynamics


def test_forward_dynamics_learns_nothing_from_the_frames_it_is_asked_for(tiny, model) -> None:
    """Other clean frames in the last chunk change nothing; other given actions change what is imagined."""
    layout = replace(LAYOUT, forward_dynamics=True)
    batch = collate([tiny.sequence(7, seed=1)])
    noised = corrupted(batch, layout)
    plain = losses(model, batch, noised, layout).dynamics

    def changed(**streams) -> Tensor:
        return losses(model, batch, replace(noised, **streams), layout).dynamics

    other = noised.video.clean.clone()
    other[:, 5:] += 1
    torch.testing.assert_close(changed(video=replace(noised.video, clean=other)), plain)
    given = noised.action.noisy.clone()
    given[:, 4:] += 1
    assert (changed(action=replace(noised.action, noisy=given)) - plain).abs() > 1e-4


def test_given_actions_count_for_nothing(tiny, model) -> None:
    """The loss is the mean over the actions that are not given, whatever the velocities of those that are."""
    batch = collate([tiny.sequence(7, seed=1)])
    generator = [torch.Generator().manual_seed(0)]
    config = CorruptionConfig(action_prefix_probability=1.0)
    noised = corrupt(batch, LAYOUT, config, generator, max_frames=8)
    given = noised.action_given
    assert given.any() and not given.all()
    assert (noised.action.noisy_time[given] == 1).all()
    plain = losses(model, batch, noised).inverse
    velocity = noised.action.velocity.masked_fill(given[..., None], 100.0)
    other = replace(noised, action=replace(noised.action, velocity=velocity))
    torch.testing.assert_close(losses(model, batch, other).inverse, plain)
    velocity = noised.action.velocity.masked_fill(~given[..., None], 100.0)
    other = replace(noised, action=replace(noised.action, velocity=velocity))
    assert losses(model, batch, other).inverse > plain + 100


def test_actions_whose_flow_time_rounds_to_one_still_count(tiny, model) -> None:
    batch = collate([tiny.sequence(7, seed=1)])
    noised = corrupted(batch, LAYOUT)
    ones = torch.ones_like(noised.action.noisy_time)
    assert losses(model, batch, replace(noised, action=replace(noised.action, noisy_time=ones))).inverse > 0


@pytest.mark.parametrize("imagines", [True, False])
@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_fast_path_equals_the_mask_in_bfloat16(tiny, model, imagines: bool) -> None:
    """Both round to 8 bits, at other places: measured, their gradients differ by 0.9 % of their length.

    From float32's either differs by as much (0.9 and 1.1 %), as any arithmetic of 8 bits does.
    """
    layout = ChunkLayout(num_frames=3, frames_per_chunk=1, window=1, imagines=imagines)
    batch = collate([tiny.sequence(3, seed=1)])
    noised = corrupted(batch, layout)
    exact = total_and_gradients(model, batch, noised, layout)
    with torch.autocast("cpu", torch.bfloat16):
        fast = total_and_gradients(model, batch, noised, layout)
        slow = total_and_gradients(model, batch, noised, layout, attention=MaskedAttention(layout))
    for one, other, tolerance in ((fast, slow, 1.5e-2), (fast, exact, 1.5e-2), (slow, exact, 1.5e-2)):
        for mine, theirs in zip(vars(one[0]).values(), vars(other[0]).values(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=0)
        mine, theirs = (torch.cat([gradients[name].flatten() for name in exact[1]]) for _, gradients in (one, other))
        assert torch.linalg.vector_norm(mine - theirs) < tolerance * torch.linalg.vector_norm(theirs)


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """Everything that autograd keeps for the backward pass."""

    def __init__(self):
        self.tensors: list[Tensor] = []
        super().__init__(self._keep, lambda tensor: tensor)

    def _keep(self, tensor: Tensor) -> Tensor:
        self.tensors.append(tensor)  # kept alive, so that no address is used twice
        return tensor

    def num_bytes(self, model: WorldActionModel) -> int:
        """Of all storages, each once; the weights are there anyway."""
        weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in self.tensors}
        return sum(size for address, size in storages.items() if address not in weights)


def kept_bytes(tiny, num_layers: int, *, recompute: bool) -> int:
    model, batch = tiny.model(num_layers=num_layers), collate([tiny.sequence(7, seed=n) for n in range(2)])
    noised, text = corrupted(batch), HashedWordEncoder(dim=8).encode(list(batch.instructions))
    context, kept = model.read_text(text.tokens, text.lengths), Kept()
    with kept:
        velocity_losses(model, batch, noised, context, LAYOUT, recompute=recompute)
    return kept.num_bytes(model)


def test_recomputing_keeps_the_tokens_between_layers_alone(tiny) -> None:
    plain, recomputed = (kept_bytes(tiny, 4, recompute=recompute) for recompute in (False, True))
    assert recomputed * 3 <= plain
    sizes, frames, batch = tiny.sizes(), 13, 2
    between = sizes.video_tokens * sizes.video_width + sizes.actions_per_latent_frame * sizes.action_width
    assert kept_bytes(tiny, 5, recompute=True) - recomputed == 4 * batch * frames * between


def disturb_noise(stream, where: Tensor):
    """The stream with other numbers, targets included, at the noisy entries `where` [batch, noisy frames, ...]."""
    junk = torch.randn(stream.velocity.shape, generator=torch.Generator().manual_seed(99)) * 50
    where = where.reshape(*where.shape, *[1] * (stream.velocity.ndim - where.ndim))
    return replace(stream, velocity=torch.where(where, junk, stream.velocity))


def test_invalid_targets_have_no_influence(tiny, model) -> None:
    batch = collate([tiny.sequence(7, seed=1)])
    actions, frames = batch.action_valid.clone(), batch.frame_valid.clone()
    actions[0, 6, 2:] = False
    frames[0, 6] = False
    batch = replace(batch, action_valid=actions, frame_valid=frames)
    noised = corrupted(batch)
    junk = replace(
        noised,
        video=disturb_noise(noised.video, ~frames[:, 1:]),
        action=disturb_noise(noised.action, ~actions[:, 1:]),
    )
    one = total_and_gradients(model, batch, noised)
    assert_close(one, total_and_gradients(model, batch, junk), 0.0)
    counted = replace(batch, action_valid=torch.ones_like(actions))
    assert not torch.equal(losses(model, counted, junk).inverse, one[0].inverse)


def test_targets_of_unused_channels_have_no_influence(tiny, model, mask) -> None:
    batch = collate([tiny.sequence(7, seed=1)])
    noised = corrupted(batch)
    velocity = torch.where(mask, noised.action.velocity, 1000.0)
    junk = replace(noised, action=replace(noised.action, velocity=velocity))
    one, other = (total_and_gradients(model, batch, n) for n in (noised, junk))
    assert_close(one, other, 0.0)
    unused = one[1]["action.head.weight"][~mask]
    assert not unused.any()
    assert one[1]["action.head.weight"][mask].any()


def test_unused_channels_of_the_input_have_no_influence(tiny, model, mask) -> None:
    """What training puts into channels the robot lacks is what inference keeps there: nothing."""
    batch = collate([tiny.sequence(7, seed=1)])
    noised = corrupted(batch)
    _, action = network_inputs(model, noised, LAYOUT)
    assert not action.values[..., ~mask].any()


def test_padded_frames_have_no_influence(tiny, model) -> None:
    """Whatever stands in the padding, it is in chunks of its own that nothing valid sees."""
    batch = collate([tiny.sequence(5, seed=1), tiny.sequence(7, seed=2)])
    noised = corrupted(batch)
    generator = torch.Generator().manual_seed(5)

    def filled(stream):
        def junk(value: Tensor, start: int) -> Tensor:
            value = value.clone()
            noise = torch.randn(value[0, start:].shape, generator=generator) * 9
            value[0, start:] = noise if value.ndim > 2 else noise.abs() / 40
            return value

        starts = {"noisy": 4, "noisy_time": 4, "velocity": 4, "clean": 5, "clean_time": 5}
        return replace(stream, **{name: junk(getattr(stream, name), start) for name, start in starts.items()})

    junk = replace(noised, video=filled(noised.video), action=filled(noised.action))
    one, other = (total_and_gradients(model, batch, n) for n in (noised, junk))
    assert_close(one, other, 1e-6)


def test_a_sample_without_anything_valid_counts_zero(tiny, model) -> None:
    batch = collate([tiny.sequence(7)])
    nothing = replace(
        batch,
        action_valid=torch.zeros_like(batch.action_valid),
        frame_valid=torch.zeros_like(batch.frame_valid),
    )
    result = losses(model, nothing, corrupted(batch))
    assert result.dynamics.tolist() == [0.0] and result.inverse.tolist() == [0.0]


def test_a_reactive_policy_predicts_no_video(tiny, model) -> None:
    layout = replace(LAYOUT, imagines=False)
    batch = collate([tiny.sequence(7)])
    video, action = network_inputs(model, corrupted(batch, layout), layout)
    assert video.values.shape[1] == 7 and action.values.shape[1] == 13
    result, gradients = total_and_gradients(model, batch, corrupted(batch, layout), layout)
    assert result.dynamics.tolist() == [0.0]
    assert not gradients["video.head.weight"].any() and gradients["video.embed.weight"].any()


def test_noisy_actions_of_a_reactive_policy_never_see_their_future(tiny, model) -> None:
    """Other video in the last chunk changes nothing that is predicted."""
    layout = replace(LAYOUT, imagines=False)
    batch = collate([tiny.sequence(7)])
    noised = corrupted(batch, layout)
    clean = noised.video.clean.clone()
    clean[:, 5:] += 3
    future = replace(noised, video=replace(noised.video, clean=clean))
    assert torch.equal(losses(model, batch, noised, layout).inverse, losses(model, batch, future, layout).inverse)
    imagining = [losses(model, batch, n).inverse for n in (corrupted(batch), future)]
    assert not torch.allclose(*imagining)
