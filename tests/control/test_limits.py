import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreact.control.limits import MotionLimiter, MotionLimits
from foreact.errors import ConfigurationError, InputError

TICK_S = 0.02
POSITIONS = st.floats(-3, 3, width=32)


def limits(velocity: float | None, acceleration: float | None, *, workspace: float | None = 1.0) -> MotionLimits:
    return MotionLimits(
        low=None if workspace is None else (-workspace,),
        high=None if workspace is None else (workspace,),
        velocity=None if velocity is None else (velocity,),
        acceleration=None if acceleration is None else (acceleration,),
    )


def assert_within(commands: list[float], bounds: MotionLimits) -> None:
    """`commands` begins with the robot at rest."""
    track = np.array([commands[0], *commands])
    if bounds.low and bounds.high:
        assert track.min() >= bounds.low[0] - 1e-7 and track.max() <= bounds.high[0] + 1e-7
    if bounds.velocity:
        assert np.abs(np.diff(track)).max() / TICK_S <= bounds.velocity[0] + 1e-4
    if bounds.acceleration:
        assert np.abs(np.diff(track, n=2)).max(initial=0) / TICK_S**2 <= bounds.acceleration[0] + 2e-3


@given(
    st.lists(POSITIONS | st.none(), min_size=1, max_size=60),
    st.sampled_from([None, 0.5, 2.0, 40.0]),
    st.sampled_from([None, 3.0, 20.0, 900.0]),
    st.sampled_from([None, 0.7, 1.0]),
    st.floats(-0.5, 0.5, width=32),
)
def test_limits_hold_whatever_is_wanted(wanted, velocity, acceleration, workspace, start) -> None:
    """None is a sudden stop."""
    bounds = limits(velocity, acceleration, workspace=workspace)
    limiter, commands = MotionLimiter(bounds, TICK_S, np.array([start])), [start]
    for position in wanted:
        command = limiter.halt() if position is None else limiter.allow(np.array([position]))
        assert command.dtype == np.float32
        commands.append(float(command[0]))
    while not limiter.at_rest:
        commands.append(float(limiter.halt()[0]))
        assert len(commands) < 5000
    assert commands[-1] == limiter.halt()
    assert_within(commands, bounds)


@settings(max_examples=20)
@given(st.floats(0.2, 3), st.floats(0.01, 0.3), st.floats(0, 6))
def test_a_motion_within_the_limits_passes_unchanged(hz, size, phase) -> None:
    """A swing from rest, which its own speed and acceleration limit with a little to spare."""
    time = np.arange(100) * TICK_S
    swing = (size * (1 - np.cos(2 * np.pi * hz * time)) * np.cos(phase)).astype(np.float32)
    pace = np.abs(np.diff(swing, prepend=swing[0])).max() / TICK_S * 1.01 + 1e-3
    change = np.abs(np.diff(swing, n=2, prepend=[swing[0]] * 2)).max() / TICK_S**2 * 1.01 + 0.1
    limiter = MotionLimiter(limits(float(pace), float(change), workspace=3.0), TICK_S, swing[:1])
    assert [float(limiter.allow(swing[t : t + 1])[0]) for t in range(100)] == swing.tolist()


@settings(max_examples=25)
@given(st.floats(-1, 1, width=32), st.sampled_from([0.7, 3.0]), st.sampled_from([2.0, 20.0, 5000.0]))
def test_a_far_target_is_reached_and_not_overshot(target, velocity, acceleration) -> None:
    limiter = MotionLimiter(limits(velocity, acceleration), TICK_S, np.zeros(1))
    commands = [0.0] + [float(limiter.allow(np.array([target]))[0]) for _ in range(160)]
    assert commands[-1] == target and limiter.at_rest
    assert max(np.abs(commands)) <= abs(target)
    assert_within(commands, limits(velocity, acceleration))


def test_a_target_beyond_the_workspace_is_its_edge() -> None:
    limiter = MotionLimiter(limits(None, 20.0), TICK_S, np.zeros(1))
    for _ in range(100):
        edge = limiter.allow(np.array([5.0]))
    back = [float(limiter.allow(np.array([0.75]))[0]) for _ in range(100)]
    assert edge == 1.0 and back[-1] == 0.75 and min(back) == 0.75


def test_it_catches_up_with_a_moving_target_after_a_jump() -> None:
    limiter = MotionLimiter(limits(1.0, 20.0, workspace=None), TICK_S, np.zeros(1))
    moving = (0.3 + 0.4 * TICK_S * np.arange(200)).astype(np.float32)
    commands = np.array([limiter.allow(moving[t : t + 1])[0] for t in range(200)])
    assert (commands[60:] == moving[60:]).all()
    assert (commands <= moving + 1e-6).all()


def test_each_degree_of_freedom_has_its_own() -> None:
    bounds = MotionLimits(velocity=(1.0, float("inf")), low=(-9.0, -0.5), high=(9.0, 0.5))
    limiter = MotionLimiter(bounds, TICK_S, np.zeros(2))
    assert limiter.allow(np.array([1.0, 1.0])).tolist() == pytest.approx([0.02, 0.5])


def test_without_limits_commands_pass() -> None:
    limiter = MotionLimiter(MotionLimits(), TICK_S)
    assert limiter.at_rest
    for wanted in ([1e-30, 5.0], [-1e30, 5.0], [3.3, 1e-7]):
        assert limiter.allow(np.array(wanted, np.float32)).tolist() == np.float32(wanted).tolist()
    assert limiter.halt().tolist() == np.float32([3.3, 1e-7]).tolist() and limiter.at_rest


def test_a_workspace_alone_needs_no_start() -> None:
    limiter = MotionLimiter(limits(None, None), TICK_S)
    assert limiter.allow(np.array([7.0])).tolist() == [1.0] and limiter.allow(np.array([-0.5])).tolist() == [-0.5]


def test_a_command_that_is_none_changes_nothing() -> None:
    limiter, other = (MotionLimiter(limits(1.0, 10.0), TICK_S, np.zeros(1)) for _ in range(2))
    for position in (0.5, -0.5, 0.3):
        for broken in (np.array([np.nan]), np.array([-np.inf]), np.zeros(2), np.array(0.0)):
            with pytest.raises(InputError, match="command"):
                limiter.allow(broken)
        assert limiter.allow(np.array([position])) == other.allow(np.array([position]))


def test_where_the_robot_stands_must_be_known_and_inside() -> None:
    with pytest.raises(ConfigurationError, match="where the robot stands"):
        MotionLimiter(limits(None, 1.0), TICK_S)
    with pytest.raises(InputError, match="where the robot stands"):
        MotionLimiter(limits(None, 1.0), TICK_S, np.array([1.1]))
    with pytest.raises(InputError, match="command"):
        MotionLimiter(limits(None, 1.0), TICK_S, np.zeros(3))
    with pytest.raises(InputError, match="no command yet"):
        MotionLimiter(MotionLimits(), TICK_S).halt()


@pytest.mark.parametrize(
    "wrong",
    [
        {"velocity": (0.0,)},
        {"acceleration": (-1.0,)},
        {"low": (float("nan"),)},
        {"low": (1.0,), "high": (0.0,)},
        {"low": (1.0,), "velocity": (1.0, 1.0)},
    ],
)
def test_limits_that_cannot_be(wrong) -> None:
    with pytest.raises(ConfigurationError, match="MotionLimits"):
        MotionLimits(**wrong)
