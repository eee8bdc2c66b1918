"""Places, owners and time; what goes over the wire is tested with the host."""

import numpy as np
import pytest

from foreact.control.protocol import RefusalError
from foreact.serving.config import Limits
from foreact.serving.sessions import Clocks, Connection, Pace, Sessions


@pytest.fixture
def sessions() -> Sessions:
    limits = Limits(sessions=2, sessions_per_client=2, idle_s=100.0, grace_s=10.0)
    return Sessions(limits, now=lambda: sessions_clock["now_s"])


sessions_clock = {"now_s": 0.0}


@pytest.fixture(autouse=True)
def midnight() -> None:
    sessions_clock["now_s"] = 0.0


def test_places_are_kept_given_back_and_counted(sessions, controller) -> None:
    owner = Connection("a")
    sessions.reserve(owner)
    assert len(sessions) == owner.sessions == 1
    sessions.release(owner)
    assert len(sessions) == owner.sessions == 0
    for _ in range(2):
        sessions.reserve(owner)
        sessions.add(controller, owner, imagined=False)
    with pytest.raises(RefusalError, match="of this client"):
        sessions.reserve(owner)
    with pytest.raises(RefusalError, match="try again later"):
        sessions.reserve(Connection("b"))


def test_names_and_tokens_differ_and_tokens_are_not_shown(sessions, controller) -> None:
    owner = Connection("a")
    made = []
    for _ in range(2):
        sessions.reserve(owner)
        made.append(sessions.add(controller, owner, imagined=False))
    assert made[0].name != made[1].name and made[0].token != made[1].token
    assert len(made[0].token) >= 43 and made[0].token not in repr(made[0])


def test_the_longest_abandoned_makes_room(sessions, controller) -> None:
    owners = [Connection(name) for name in "ab"]
    made = []
    for owner in owners:
        sessions.reserve(owner)
        made.append(sessions.add(controller, owner, imagined=False))
    for owner in reversed(owners):
        sessions_clock["now_s"] += 1.0
        sessions.abandon(owner)
    sessions.reserve(Connection("c"))
    with pytest.raises(RefusalError) as gone:
        sessions.take_up(made[1].name, made[1].token, owners[1])
    assert gone.value.code == "unknown_session"
    assert sessions.take_up(made[0].name, made[0].token, owners[0]) is made[0]


def test_a_session_that_never_drove_makes_room_soon_and_one_that_does_not_at_all(sessions, controller) -> None:
    robot, idler = Connection("a"), Connection("b")
    for owner in (robot, idler):
        sessions.reserve(owner)
        sessions.add(controller, owner, imagined=False)
    driving = next(each for each in sessions._all.values() if each.owner is robot)
    driving.sequence = 2
    with pytest.raises(RefusalError, match="try again later"):
        sessions.reserve(Connection("c"))
    sessions_clock["now_s"] = 6.0
    for each in list(sessions._all.values()):  # to say something does not make a robot of it
        sessions.own(each.name, each.owner)
    sessions.reserve(Connection("c"))
    assert list(sessions._all.values()) == [driving]
    with pytest.raises(RefusalError, match="try again later"):
        sessions.reserve(Connection("d"))


def test_the_place_of_a_robot_is_kept_for_a_while_when_its_connection_breaks(sessions, controller) -> None:
    owner = Connection("a")
    for _ in range(2):
        sessions.reserve(owner)
        sessions.add(controller, owner, imagined=False).sequence = 2
    sessions.abandon(owner)
    sessions_clock["now_s"] = 14.0
    with pytest.raises(RefusalError, match="try again later"):
        sessions.reserve(Connection("c"))
    sessions_clock["now_s"] = 16.0
    sessions.reserve(Connection("c"))


def test_one_address_leaves_places_to_others(controller) -> None:
    sessions = Sessions(Limits(sessions=4, sessions_per_client=2), now=lambda: 0.0)
    connections = [Connection(f"{number}", "10.0.0.1") for number in range(4)]
    for owner in connections[:3]:
        sessions.reserve(owner)
        sessions.add(controller, owner, imagined=False)
    with pytest.raises(RefusalError, match="sessions of this address") as refused:
        sessions.reserve(connections[3])
    assert refused.value.code == "busy"
    sessions.reserve(Connection("other", "10.0.0.2"))


def test_grace_for_the_abandoned_and_patience_with_the_idle(sessions, controller) -> None:
    owner, other = Connection("a"), Connection("b")
    sessions.reserve(owner)
    session = sessions.add(controller, owner, imagined=False)
    sessions_clock["now_s"] = 99.0
    assert sessions.remove_idle() == []
    sessions.abandon(owner)
    sessions_clock["now_s"] = 108.0
    assert sessions.remove_idle() == []
    assert sessions.take_up(session.name, session.token, other) is session and other.sessions == 1
    sessions_clock["now_s"] = 300.0
    assert sessions.remove_idle() == [session]
    assert other.sessions == 0 and len(sessions) == 0


def test_clocks_that_have_nothing_in_common() -> None:
    clocks = Clocks()
    clocks.note(1000.0, 5.0)
    clocks.check(1001.0, 6.5, 1.0)
    with pytest.raises(RefusalError, match=r"age of a message; got: 2.0 s; allowed: 1 s") as stale:
        clocks.check(1002.0, 9.0, 1.0)
    assert stale.value.code == "stale"


@pytest.fixture
def controller(tiny):
    from foreact.policy.controllers import PolicyController

    return PolicyController(tiny.policy(), "push", mode="synchronous")


@pytest.mark.parametrize("period_s", [0.1, 0.32, 1.28])
def test_a_robot_that_moves_in_real_time_is_never_ahead(period_s: float) -> None:
    rng, pace, now_s = np.random.default_rng(0), Pace(), 100.0
    for turn in range(2000):
        pause_s = 5.0 if turn % 500 == 0 else 0.0
        now_s += 0.95 * period_s + pause_s  # its clock is too fast
        assert not pace.is_ahead(period_s, now_s + rng.uniform(0, 0.5))


@pytest.mark.parametrize("moved_s", [0.0, 0.32, 1.28])
def test_a_flood_is_ahead_soon_and_until_it_has_stood_still(moved_s: float) -> None:
    pace = Pace()
    stored = [pace.is_ahead(moved_s, 100.0 + 0.02 * turn) for turn in range(100)]
    assert not stored[0] and stored[-1] and sum(stored) > 50
    assert not pace.is_ahead(0.32, 100.0 + 200 * 1.28)
