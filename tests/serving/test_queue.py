from threading import Event, Thread
from time import monotonic, sleep

import pytest

from foreact.control.protocol import RefusalError
from foreact.errors import ConfigurationError
from foreact.serving.config import Batching
from foreact.serving.queue import DueQueue, Urgency


def queue(*, most: int = 10, batch: int = 3, wait_ms: float = 0.0, clients: int = 100) -> DueQueue[str]:
    return DueQueue(most, Batching(most=batch, wait_ms=wait_ms), lambda: clients)


def names(batch) -> list[str]:
    return [each.item for each in batch]


def test_the_most_urgent_first_and_no_more_than_a_batch() -> None:
    waiting = queue()
    for number, due_s in enumerate([5.0, 1.0, 3.0, 2.0, 3.0]):
        waiting.put(f"{number}", due_s=due_s, batchable=True)
    assert names(waiting.take(lambda _: 0.0)) == ["1", "3", "2"]  # equally due: in the order of arrival
    assert names(waiting.take(lambda _: 0.0)) == ["4", "0"]
    assert len(waiting) == 0


def test_what_cannot_be_batched_comes_alone_when_it_is_due() -> None:
    waiting = queue()
    for name, due_s, batchable in (("a", 1.0, True), ("call", 2.0, False), ("b", 3.0, True)):
        waiting.put(name, due_s=due_s, batchable=batchable)
    assert names(waiting.take(lambda _: 0.0)) == ["a", "b"]
    assert names(waiting.take(lambda _: 0.0)) == ["call"]


def test_what_can_wait_comes_last_and_never_with_what_cannot() -> None:
    waiting = queue()
    for name, due_s, urgency in (("flood", 1.0, 2), ("late", 9.0, 0), ("simulator", 2.0, 2), ("standing", 9.0, 1)):
        waiting.put(name, due_s=due_s, batchable=True, urgency=Urgency(urgency))
    assert names(waiting.take(lambda _: 0.0)) == ["late"]
    assert names(waiting.take(lambda _: 0.0)) == ["standing"]
    assert names(waiting.take(lambda _: 0.0)) == ["flood", "simulator"]


def test_what_can_wait_is_not_begun_just_before_a_robot_comes() -> None:
    waiting = queue()
    for _ in range(3):
        waiting.put("robot", due_s=0.0, batchable=True, asker="robot")
        assert names(waiting.take(lambda _: 0.0)) == ["robot"]
        sleep(0.5)
    waiting.put("flood", due_s=0.0, batchable=True, urgency=Urgency.AHEAD)
    taken = []
    thread = Thread(
        target=lambda: taken.extend(names(waiting.take(lambda _: 10.0)))
    )  # it would take until long after that
    thread.start()
    sleep(0.02)
    assert taken == [], "the robot was expected by now, and is still due"
    waiting.put("robot", due_s=0.0, batchable=True, asker="robot")
    thread.join()
    assert taken == ["robot"]


def test_what_can_wait_is_begun_where_there_is_time_or_nobody_comes() -> None:
    waiting = queue()
    for _ in range(2):
        waiting.put("robot", due_s=0.0, batchable=True, asker="robot")
        waiting.take(lambda _: 0.0)
        sleep(0.1)
    waiting.put("flood", due_s=0.0, batchable=True, urgency=Urgency.AHEAD)
    begun_s = monotonic()
    assert names(waiting.take(lambda _: 10.0)) == ["flood"]
    assert monotonic() - begun_s < 1.0, "the robot is overdue and not waited for any longer"
    for _ in range(2):
        waiting.put("robot", due_s=0.0, batchable=True, asker="robot")
        waiting.take(lambda _: 0.0)
        sleep(0.3)
    waiting.put("robot", due_s=0.0, batchable=True, asker="robot")
    waiting.take(lambda _: 0.0)
    waiting.put("flood", due_s=0.0, batchable=True, urgency=Urgency.AHEAD)
    begun_s = monotonic()
    assert names(waiting.take(lambda _: 0.01)) == ["flood"]
    assert monotonic() - begun_s < 0.2, "long before the robot comes"


def test_nothing_is_held_back_for_ever(monkeypatch) -> None:
    monkeypatch.setattr("foreact.serving.queue.MOST_HELD_S", 0.3)
    waiting, stop = queue(), Event()

    def ask() -> None:
        while not stop.wait(0.05):
            waiting.put("robot", due_s=0.0, batchable=True, asker="robot")

    thread = Thread(target=ask)
    thread.start()
    taken = [
        name for _ in range(3) for name in names(waiting.take(lambda _: 0.0))
    ]  # now it is known how often the robot comes
    waiting.put("flood", due_s=0.0, batchable=True, urgency=Urgency.AHEAD)
    while "flood" not in taken and len(taken) < 100:
        taken += names(waiting.take(lambda _: 10.0))
    stop.set()
    thread.join()
    assert "flood" in taken and taken.index("flood") > 3


def test_a_robot_that_stands_still_does_not_wait_for_itself() -> None:
    waiting = queue()
    for _ in range(2):
        waiting.put("robot", due_s=0.0, batchable=True, asker="robot")
        waiting.take(lambda _: 0.0)
        sleep(0.2)
    waiting.put("its long turn", due_s=0.0, batchable=False, urgency=Urgency.STANDS, asker="robot")
    begun_s = monotonic()
    assert names(waiting.take(lambda _: 10.0)) == ["its long turn"]
    assert monotonic() - begun_s < 0.04


def test_as_many_of_those_that_wait_as_fit_before_the_next_robot() -> None:
    waiting = queue(batch=8)
    for _ in range(2):
        waiting.put("robot", due_s=0.0, batchable=True, asker="robot")
        waiting.take(lambda _: 0.0)
        sleep(0.5)
    waiting.put("robot", due_s=0.0, batchable=True, asker="robot")
    waiting.take(lambda _: 0.0)
    for number in range(8):
        waiting.put(f"{number}", due_s=0.0, batchable=True, urgency=Urgency.STANDS)
    assert len(waiting.take(lambda size: 0.12 * size)) in (1, 2, 3, 4)  # half a second is left, or less
    assert len(waiting) >= 4


def test_who_was_held_back_for_long_comes_alone_and_not_one_after_another(monkeypatch) -> None:
    monkeypatch.setattr("foreact.serving.queue.MOST_HELD_S", 0.1)
    monkeypatch.setattr("foreact.serving.queue.BETWEEN_FORCED_S", 1000.0)
    waiting = queue()
    for name in ("standing", "also standing"):
        waiting.put(name, due_s=0.0, batchable=True, urgency=Urgency.STANDS)
    sleep(0.2)
    for name in ("a", "b"):
        waiting.put(name, due_s=0.0, batchable=True)
    assert names(waiting.take(lambda _: 0.0)) == ["standing"]
    assert names(waiting.take(lambda _: 0.0)) == ["a", "b"]
    assert names(waiting.take(lambda _: 0.0)) == ["also standing"]


def test_no_more_than_may_wait() -> None:
    waiting = queue(most=1)
    waiting.put("a", due_s=0.0, batchable=True)
    with pytest.raises(RefusalError, match="up to 1") as refused:
        waiting.put("b", due_s=0.0, batchable=True)
    assert refused.value.code == "busy"


def test_closed_it_takes_nothing_in_and_gives_out_what_is_left() -> None:
    waiting = queue()
    waiting.put("a", due_s=0.0, batchable=True)
    waiting.close()
    with pytest.raises(RefusalError) as refused:
        waiting.put("b", due_s=0.0, batchable=True)
    assert refused.value.code == "shutting_down"
    assert names(waiting.take(lambda _: 0.0)) == ["a"]
    assert waiting.take(lambda _: 0.0) == []


def test_the_first_waits_for_others_that_come_in_time() -> None:
    waiting, taken = queue(wait_ms=50.0, batch=2), []
    waiting.put("a", due_s=monotonic() + 100, batchable=True)
    thread = Thread(target=lambda: taken.extend(waiting.take(lambda _: 0.0)))
    thread.start()
    waiting.put("b", due_s=monotonic() + 200, batchable=True)
    thread.join()
    assert names(taken) == ["a", "b"]


@pytest.mark.parametrize(
    ("due_in_s", "clients", "waits_s"),
    [
        (100.0, 9, 0.05),  # as long as it may
        (0.02, 9, 0.01),  # no longer than it can: computing takes 10 ms
        (0.01, 9, None),
        (0.001, 9, 0.05),  # it is late anyway
        (100.0, 1, None),  # all are here
    ],
)
def test_how_long_it_waits(due_in_s: float, clients: int, waits_s: float | None, monkeypatch) -> None:
    now_s, waited = [100.0], []
    monkeypatch.setattr("foreact.serving.queue.monotonic", lambda: now_s[0])
    waiting = queue(wait_ms=50.0, clients=clients)

    def wait(seconds: float) -> None:
        waited.append(seconds)
        now_s[0] += 1.0

    monkeypatch.setattr(waiting._changed, "wait", wait)
    waiting.put("a", due_s=100.0 + due_in_s, batchable=True)
    assert names(waiting.take(lambda _: 0.01)) == ["a"]
    assert waited == ([] if waits_s is None else [pytest.approx(waits_s)])


@pytest.mark.parametrize("changes", [{"most": 0}, {"wait_ms": -1.0}, {"wait_ms": 51.0}, {"wait_ms": float("nan")}])
def test_settings_that_cannot_be(changes: dict) -> None:
    with pytest.raises(ConfigurationError, match=f"Batching.{next(iter(changes))}"):
        Batching(**changes)
