import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from foreact.embodiments.grippers import Gripper
from foreact.errors import ConfigurationError


def test_opening_of_a_gripper_that_closes_upwards():
    gripper = Gripper(entry=1, open=-1.0, closed=1.0)
    actions = np.array([[9.0, -1.0], [9.0, 0.0], [9.0, 1.0], [9.0, 3.0]])
    np.testing.assert_array_equal(gripper.opening(actions), [1.0, 0.5, 0.0, -1.0])


@settings(deadline=None, max_examples=40)
@given(
    opened=st.floats(-5, 5),
    closed=st.floats(-5, 5),
    action=st.floats(-10, 10),
)
def test_round_trip(opened, closed, action):
    assume(abs(opened - closed) > 1e-3)
    gripper = Gripper(entry=0, open=opened, closed=closed)
    assert gripper.action(gripper.opening(np.array([[action]])))[0] == pytest.approx(action, abs=1e-9)


def test_hold_by_the_action_convention():
    gripper = Gripper(entry=1, open=1.0, closed=0.0)
    assert gripper.hold(np.array([5.0, 0.25])) == 0.25
    assert gripper.hold(np.array([5.0, 1.2])) == 1.0


def test_hold_by_a_convention_of_its_own():
    gripper = Gripper(entry=0, open=-1.0, closed=1.0, state_entry=2, state_open=0.04, state_closed=0.0)
    assert gripper.hold(np.array([9.0, 9.0, 0.04])) == -1.0
    assert gripper.hold(np.array([9.0, 9.0, 0.01])) == pytest.approx(0.5)
    assert gripper.hold(np.array([9.0, 9.0, -0.002])) == 1.0


@pytest.mark.parametrize(
    "convention",
    [
        {"open": 1.0, "closed": 1.0},
        {"open": float("nan"), "closed": 0.0},
        {"open": 1.0, "closed": 0.0, "state_open": 0.0},
    ],
)
def test_open_and_closed_must_differ(convention):
    with pytest.raises(ConfigurationError, match="gripper convention"):
        Gripper(entry=0, **convention)
