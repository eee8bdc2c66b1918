import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.control.queue import ActionQueue
from foreact.errors import ConfigurationError, InputError


def stamped(start: int, count: int, chunk: float = 0.0) -> np.ndarray:
    """Actions that say which tick they are for, and of which chunk they are."""
    ticks = np.arange(start, start + count, dtype=np.float32)
    return np.stack([ticks, np.full(count, chunk, np.float32)], axis=1)


@given(st.lists(st.tuples(st.integers(-12, 0), st.integers(1, 15), st.integers(0, 12)), max_size=12), st.integers(0, 4))
def test_whatever_comes_when_each_tick_is_given_once_in_order(puts, blend) -> None:
    """Chunks begin up to 12 ticks before the end, executed or not; between them some actions are taken."""
    queue, taken = ActionQueue(blend_actions=blend), []
    for number, (back, count, num_taken) in enumerate(puts):
        start = max(0, queue.end + back)
        queue.put(start, stamped(start, count, number))
        for _ in range(min(num_taken, queue.end - queue.next_tick)):
            taken.append(queue.take())
    assert [action[0] for action in taken] == pytest.approx(range(len(taken)))
    assert queue.next_tick == len(taken)
    chunks = [action[1] for action in taken]
    assert chunks == sorted(chunks) or blend


def test_what_a_new_chunk_replaces_and_what_it_leaves() -> None:
    queue = ActionQueue()
    queue.put(0, stamped(0, 8, 0))
    for _ in range(3):
        queue.take()
    queue.put(6, stamped(6, 4, 1))
    assert queue.after(3, 99)[:, 1].tolist() == [0, 0, 0, 1, 1, 1, 1] and queue.end == 10
    queue.put(1, stamped(1, 4, 2))
    assert queue.after(3, 99).tolist() == [[3, 2], [4, 2]] and queue.end == 5
    queue.put(0, stamped(0, 3, 3))
    assert queue.after(3, 99).tolist() == [[3, 2], [4, 2]], "all of it had passed"


@given(st.integers(0, 6), st.integers(1, 8), st.integers(1, 8))
def test_chunks_fade_into_each_other_where_both_exist(blend, num_old, num_new) -> None:
    queue = ActionQueue(blend_actions=blend)
    queue.put(0, np.zeros((num_old, 1), np.float32))
    queue.put(0, np.ones((num_new, 1), np.float32))
    weights, overlap = queue.after(0, 99)[:, 0], min(blend, num_old, num_new)
    assert weights[:overlap] == pytest.approx(np.arange(1, overlap + 1) / (blend + 1))
    assert (weights[overlap:] == 1).all() and len(weights) == num_new


@given(st.floats(-0.99, 4))
def test_between_two_ticks_actions_lie_on_a_straight_line(tick) -> None:
    queue = ActionQueue()
    queue.put(0, np.array([[5], [10], [0], [7], [7], [3]], np.float32))
    queue.take()
    expected = np.interp(tick + 1, np.arange(6), [5, 10, 0, 7, 7, 3])
    assert queue.at(tick + 1 if tick + 1 > 0 else 0.01) == pytest.approx([expected], abs=1e-4)


def test_before_the_first_action_there_is_nothing_to_come_from() -> None:
    queue = ActionQueue()
    queue.put(0, stamped(3, 2))
    assert queue.at(-0.5).tolist() == queue.at(0).tolist() == [3, 0]


def test_what_was_executed_is_never_given_again() -> None:
    queue = ActionQueue()
    queue.put(0, stamped(0, 4))
    queue.take()
    queue.take()
    for tick in (0, 1, 1.0, 0.5, 3.01, 4):
        with pytest.raises(InputError, match="policy tick"):
            queue.at(tick)
    with pytest.raises(InputError, match="executed"):
        queue.after(1, 1)
    assert queue.after(3, 5).tolist() == [[3, 0]] and len(queue.after(4, 5)) == 0
    assert len(ActionQueue().after(0, 3)) == 0
    with pytest.raises(InputError):
        ActionQueue().take()


def test_what_is_read_is_a_copy() -> None:
    queue, actions = ActionQueue(), stamped(0, 3)
    queue.put(0, actions)
    actions[:] = 9
    queue.at(0)[:] = 9
    queue.after(0, 2)[:] = 9
    assert queue.take().tolist() == [0, 0]


def test_actions_that_cannot_be_executed_change_nothing() -> None:
    with pytest.raises(ConfigurationError, match="blend_actions"):
        ActionQueue(blend_actions=-1)
    queue = ActionQueue()
    queue.put(0, stamped(0, 4))
    for start, actions in [(5, stamped(5, 1)), (-1, stamped(-1, 9)), (0, np.zeros(3)), (0, np.zeros((3, 5)))]:
        with pytest.raises(InputError):
            queue.put(start, actions)
    with pytest.raises(InputError, match="finite"):
        queue.put(0, np.array([[0.0, np.inf]]))
    assert queue.after(0, 99).tolist() == stamped(0, 4).tolist()
