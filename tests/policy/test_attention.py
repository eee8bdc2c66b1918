"""Where a policy looks for an action: shares that sum to 1, in the right place, by a pass that leaves no trace."""

import numpy as np
import pytest
import torch

from foreact.errors import InputError
from foreact.policy.attention import action_attention


def started(policy, tiny, *, turns: int = 2):
    session = policy.start("push it", seed=3)
    policy.observe_first(session, tiny.images(1), np.zeros(3, np.float32))
    for turn in range(turns):
        chunk = policy.predict(session)
        frames = len(chunk.actions) // policy.embodiment.timing.camera_stride
        policy.observe(session, tiny.images(frames, seed=turn), chunk.actions)
    return session


@pytest.mark.parametrize("settings", [{}, {"imagines": False}, {"window": 2}, {"s_stop": 0.5}])
def test_shares_sum_to_one_and_nothing_is_changed(tiny, settings) -> None:
    policy = tiny.policy(**settings)
    session, twin = started(policy, tiny), started(policy, tiny)
    policy.predict(session), policy.predict(twin)
    found = action_attention(policy, session)
    whole = found.remembered.sum() + found.imagined.sum() + found.past_actions + found.own_actions
    assert float(whole) == pytest.approx(1, abs=1e-5)
    known = session.rollout.num_observed
    kept = min(known, policy.config.window)
    assert found.remembered_frames == tuple(range(known - kept, known))
    assert len(found.imagined) == (0 if settings.get("imagines") is False else tiny.chunk)
    assert found.remembered.shape[1:] == found.imagined.shape[1:] == (2, 2)
    for ours, theirs in zip(session.rollout.cache.observed(), twin.rollout.cache.observed(), strict=True):
        assert torch.equal(ours, theirs)
    assert np.array_equal(policy.predict(session).actions, policy.predict(twin).actions), "its noise did not move"


def test_it_looks_where_a_key_is_that_every_query_likes(tiny) -> None:
    """The keys of one patch of one remembered frame are made to agree with every query: all attention goes there."""
    policy = tiny.policy()
    session = started(policy, tiny)
    policy.predict(session)
    before = action_attention(policy, session)
    model, frame, patch = policy.networks.model, 1, 3
    per_frame = model.config.video_tokens + model.config.action_tokens
    keys, _ = session.rollout.cache.observed()
    queries = []
    for layer in model.layers:
        block = layer.blocks[1]
        inner = block.project
        handle = lambda x, *rest, inner=inner: queries.append(inner(x, *rest)) or queries[-1]  # noqa: E731
        block.project = handle
    action_attention(policy, session)
    for layer, made in enumerate(queries[: len(model.layers)]):
        keys[layer, 0, :, frame * per_frame + patch] = 1e3 * made.queries[0, 0, 0]
    for layer in model.layers:
        del layer.blocks[1].project
    after = action_attention(policy, session)
    assert float(after.remembered[frame].flatten()[patch]) > 0.45 > float(before.remembered[frame].flatten()[patch])
    assert after.remembered.argmax() == frame * 4 + patch


def test_without_a_chunk_there_is_nothing_to_look_for(tiny) -> None:
    policy = tiny.policy()
    session = started(policy, tiny, turns=0)
    with pytest.raises(InputError, match=r"attention; got: no chunk after the first observation; .*call predict"):
        action_attention(policy, session)
    policy.predict(session)
    most = policy.actions_per_chunk - 1
    with pytest.raises(InputError, match=f"action of the chunk; got: {most + 1}; allowed: 0 to {most}"):
        action_attention(policy, session, action=most + 1)
