import pytest

from foreact.serving.buckets import Bucket, ConnectionPace
from foreact.serving.config import Limits


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_two_seconds_worth_at_once_and_the_rate_from_then_on() -> None:
    clock = Clock()
    bucket = Bucket(10.0, now=clock)
    assert [bucket.take(1.0) for _ in range(20)] == [0.0] * 20
    waits = []
    for _ in range(5):
        waits.append(bucket.take(1.0))
        clock.now_s += waits[-1]
    assert waits == pytest.approx([0.1] * 5)
    clock.now_s += 100.0  # it fills up to two seconds' worth, no more
    assert sum(bucket.take(1.0) == 0.0 for _ in range(30)) == 20


def test_a_connection_is_slowed_by_messages_by_bytes_or_by_frames() -> None:
    clock = Clock()
    limits = Limits(messages_per_s=10.0, bytes_per_s=1000.0, frames_per_s=10.0)
    pace = ConnectionPace(limits, now=clock)
    assert pace.take_bytes(100, 1) == 0.0
    assert pace.take_bytes(3000, 1) == pytest.approx(1.1)
    assert ConnectionPace(limits, now=clock).take_bytes(100, 30) == pytest.approx(1.0)
    many = ConnectionPace(limits, now=clock)
    assert max(many.take_message() for _ in range(30)) == pytest.approx(1.0)


def test_pings_are_few_or_too_many() -> None:
    clock = Clock()
    pace = ConnectionPace(Limits(control_frames_per_s=5.0), now=clock)
    assert not pace.take_control_frames(10)
    assert pace.take_control_frames(1)
    clock.now_s += 10.0
    assert not pace.take_control_frames(1)
