from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.errors import InputError
from foreact_ros2.heard import Frame, Frames, Joints, Moment

PIXEL = np.zeros((1, 1, 3), np.uint8)


def frame(stamp_s: float) -> Frame:
    return Frame(moment=Moment(stamp_s=stamp_s, arrived_s=stamp_s), image=PIXEL)


def test_ages_go_by_the_clock_that_says_more() -> None:
    moment = Moment(stamp_s=100.0, arrived_s=5.0)
    assert moment.age_s(Moment(stamp_s=100.3, arrived_s=5.1)) == pytest.approx(0.3)
    assert moment.age_s(Moment(stamp_s=90.0, arrived_s=7.0)) == 2.0  # ROS time jumped back
    assert moment.age_s(Moment(stamp_s=100.0, arrived_s=7.0)) == 2.0  # ROS time stands still


STAMPS = st.lists(st.integers(1, 40), max_size=8, unique=True).map(sorted)


@given(STAMPS, STAMPS, STAMPS, st.integers(0, 8))
def test_the_newest_set_is_the_one_that_trying_them_all_finds(a, b, c, slop) -> None:
    frames = Frames(["a", "b", "c"], slop_s=slop)
    for camera, stamps in {"a": a, "b": b, "c": c}.items():
        for stamp in stamps:
            frames.put(camera, frame(stamp))
    together = [chosen for chosen in product(a, b, c) if max(chosen) - min(chosen) <= slop]
    found = frames.newest_set()
    if not together:
        assert found is None
        return
    assert found is not None
    got = tuple(found[camera].moment.stamp_s for camera in "abc")
    best = max(min(chosen) for chosen in together)
    assert got in together and min(got) == best
    assert all(got[i] == max(s[i] for s in together if min(s) == best) for i in range(3))


def test_old_pictures_are_forgotten() -> None:
    frames = Frames(["a", "b"], slop_s=0.5)
    frames.put("b", frame(1.0))
    for stamp in range(1, 10):
        frames.put("a", frame(stamp))
    assert frames.newest_set() is None and not frames.unseen


def test_pictures_come_in_order() -> None:
    frames = Frames(["a"], slop_s=0.5)
    assert frames.unseen == ["a"]
    frames.put("a", frame(2.0))
    for stamp in (2.0, 1.0):
        with pytest.raises(InputError, match="later than 2"):
            frames.put("a", frame(stamp))
    assert frames.newest_set()["a"].moment.stamp_s == 2.0


def test_joints_told_in_several_messages() -> None:
    joints = Joints(["x", "y"])
    joints.put({"x": 1.0, "wheel": 9.0}, Moment(stamp_s=1.0, arrived_s=1.0))
    assert joints.unheard == ["y"] and joints.others == {"wheel"}
    joints.put({"y": 2.0}, Moment(stamp_s=2.0, arrived_s=2.0))
    joints.put({"x": 0.0, "y": 3.0}, Moment(stamp_s=1.5, arrived_s=3.0))  # older than what is known of y
    assert joints.positions == {"x": 0.0, "y": 2.0} and not joints.unheard
    assert joints.moments["x"].stamp_s == 1.5
