import io
from collections.abc import Callable
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from foreact.control.clock import VirtualClock
from foreact.control.emergency import EmergencyStop
from foreact.control.robot import Robot
from foreact.errors import InputError
from foreact_ros2.topics_robot import StaleError, TopicsRobot

ACTIONS = ["gripper", "shoulder", "elbow"]
"""The policy's order, which is not that of the settings, nor of the messages."""


class Scene:
    """A robot, what it is sent, and a clock; ROS time is 1000 s ahead."""

    def __init__(self, ros, settings):
        self.ros, self.clock, self.sent = ros, VirtualClock(5.0), []
        self.robot = TopicsRobot(settings, ros_now=self.now, clock=self.clock, send=self.sent.append)
        self.emergency = EmergencyStop()

    def now(self) -> float:
        return 1000.0 + self.clock.now()

    def after(self, seconds: float) -> None:
        self.clock.sleep_until(self.clock.now() + seconds)

    def top(self, shade: int = 7, *, late_s: float = 0.0) -> None:
        pixels = np.full((2, 3, 3), shade, np.uint8)
        self.robot.see("top", self.ros.wire(self.ros.image(pixels, time_s=self.now() - late_s)))

    def wrist(self, shade: int = 9, *, late_s: float = 0.0) -> None:
        data = io.BytesIO()
        Image.new("RGB", (4, 2), (shade, 0, 0)).save(data, "PNG")
        kind, content = "sensor_msgs/msg/CompressedImage", np.frombuffer(data.getvalue(), np.uint8)
        message = self.ros.blank(kind, header=self.ros.header(self.now() - late_s), data=content)
        self.robot.see("wrist", self.ros.wire(message))

    def joints(self, *, late_s: float = 0.0, **changes: float) -> None:
        positions = {"arm/2": 0.2, "other": 5.0, "finger": 0.03, "arm/1": 0.1} | {
            name.replace("_", "/"): value for name, value in changes.items()
        }
        self.robot.feel(self.ros.wire(self.ros.joints(positions, time_s=self.now() - late_s)))

    def all(self) -> None:
        self.top(), self.wrist(), self.joints()

    def begin(self) -> None:
        self.robot.begin(ACTIONS, self.emergency)


@pytest.fixture
def scene(ros, configured) -> Callable[..., Scene]:
    return lambda **changes: Scene(ros, configured(**changes))


def test_it_is_a_robot(scene) -> None:
    assert isinstance(scene().robot, Robot) and not scene().robot.done


def test_observes_what_was_heard_last_in_the_policys_order_and_units(scene) -> None:
    here = scene()
    here.begin()
    here.top(1), here.wrist(2), here.joints(finger=0.0)
    here.after(0.01)
    here.top(3), here.wrist(4), here.joints()
    here.after(0.04)
    seen = here.robot.observe()
    assert seen.images["top"].shape == (2, 3, 3) and (seen.images["top"] == 3).all()
    assert seen.images["wrist"].shape == (2, 4, 3) and (seen.images["wrist"][..., 0] == 4).all()
    np.testing.assert_allclose(seen.state, [0.5, 0.1, 0.2], atol=1e-6)  # (0.03 - 0.01) / 0.04
    assert seen.state.dtype == np.float32 and seen.time_s == pytest.approx(0.05)


def test_sends_by_name_in_the_robots_units(scene) -> None:
    here = scene()
    here.begin(), here.all()
    here.robot.act(np.array([1.0, -0.5, 0.25], np.float32))
    assert here.sent[0] == pytest.approx({"finger": 0.05, "arm/1": -0.5, "arm/2": 0.25})
    assert here.emergency.reason is None


STALE = {
    "camera 'top' is": lambda here: (here.wrist(), here.joints()),
    "camera 'wrist' is": lambda here: (here.top(), here.joints()),
    "joint 'arm/1' is": lambda here: (here.top(), here.wrist(), feel_some(here, "arm/2", "finger")),
}


def feel_some(here: Scene, *names: str) -> None:
    here.robot.feel(here.ros.joints(dict.fromkeys(names, 0.0), time_s=here.now()))


@pytest.mark.parametrize("words", STALE)
def test_what_is_stale_is_refused_and_stops_the_run(scene, words: str) -> None:
    """A camera or a joint falls silent, and all others go on."""
    here = scene(slop_s=1.0)  # so that age alone decides
    here.begin(), here.all()
    here.after(0.05)
    STALE[words](here)
    here.robot.observe(), here.robot.act(np.zeros(3))
    assert here.emergency.reason is None
    for _ in range(4):
        here.after(0.04)
        STALE[words](here)
    with pytest.raises(StaleError, match=words):
        here.robot.observe()
    here.robot.act(np.zeros(3))
    assert words in here.emergency.reason and "allowed" in here.emergency.reason
    assert len(here.sent) == 2  # the command on the way to rest is sent all the same


def test_pictures_not_taken_together_are_refused(scene) -> None:
    here = scene(slop_s=0.02)
    here.begin(), here.joints()
    here.top(), here.wrist(late_s=0.03)
    with pytest.raises(StaleError, match=r"of all cameras within 0\.02"):
        here.robot.observe()
    here.after(0.001)
    here.wrist(late_s=0.01)
    here.robot.observe()


def test_clocks_that_are_apart(scene) -> None:
    here = scene()
    for take in (here.top, here.wrist, here.joints):
        take(late_s=-0.04)
        with pytest.raises(InputError, match="ahead"):
            take(late_s=-0.06)


def test_messages_without_a_stamp(scene, ros) -> None:
    here = scene()
    with pytest.raises(InputError, match="stamp"):
        here.robot.see("top", ros.image(np.zeros((1, 1, 3), np.uint8), time_s=0.0))
    with pytest.raises(InputError, match="stamp"):
        here.robot.feel(ros.joints({"arm/1": 0.0}, time_s=0.0))
    assert here.robot.feel(ros.joints({}, time_s=0.0)) is None  # tells nothing, needs no stamp


def test_what_was_never_heard_is_named(scene) -> None:
    here = scene(emergency_age_s=0.5)
    here.begin()
    feel_some(here, "arm/1", "arm/3")
    complaints = "; ".join(here.robot.complaints())
    for words in (
        "'top' was never",
        "'wrist' was never",
        "joints arm/2, finger were",
        "heard of: arm/3",
        "stop was never",
    ):
        assert words in complaints
    with pytest.raises(StaleError, match="arm/2, finger"):
        _ = here.robot.state
    here.all()
    assert here.robot.complaints() == ["the emergency stop was never heard"]


def test_an_emergency_stop_that_falls_silent(scene) -> None:
    here = scene(emergency_age_s=0.5, image_age_s=9.0, joint_age_s=9.0)
    here.begin(), here.all(), here.robot.hear_release()
    here.after(0.4)
    assert not here.robot.complaints()
    here.after(0.2)
    here.robot.act(np.zeros(3))
    assert here.emergency.reason.startswith("the emergency stop is 0.6 s old")


def test_waits_until_all_is_there(scene) -> None:
    here = scene(wait_s=1.0)
    here.begin()
    with pytest.raises(StaleError, match="cannot begin"):
        here.robot.wait()
    assert here.clock.now() >= 6.0
    here.all()
    here.robot.wait()
    assert not here.robot.complaints()
    here.after(1.0)
    here.emergency.stop("enough")
    here.robot.wait()  # stopped while it waits


@pytest.mark.parametrize("held", [False, True])
def test_a_joint_that_does_not_follow(scene, held: bool) -> None:
    """What holds it back may let go: the robot is stopped before the way is long."""
    here = scene(**{"joints.elbow.following": 0.3})
    here.begin(), here.all()
    for step in range(6):
        here.after(0.02)
        here.top(), here.wrist(), here.joints(**({} if held else {"arm_2": 0.2 + 0.1 * step}))
        here.robot.act(np.array([0.5, 0.1, 0.2 + 0.1 * step], np.float32))
    assert (here.emergency.reason or "").startswith("'arm/2' is 0.4") == held


def test_the_time_of_a_run(scene) -> None:
    here = scene(run_s=2.0, image_age_s=9.0, joint_age_s=9.0)
    here.begin(), here.all()
    here.after(1.9)
    here.robot.act(np.zeros(3))
    assert here.emergency.reason is None
    here.after(0.2)
    here.robot.act(np.zeros(3))
    assert here.emergency.reason == "the time of the run is over"


def test_messages_from_several_threads(ros, configured) -> None:
    """No observation is torn: pictures and joints of one moment belong together."""
    clock = VirtualClock(1.0)
    robot = TopicsRobot(
        configured(slop_s=0.5, **{"cameras.wrist.compressed": False}), ros_now=clock.now, clock=clock, send=dict
    )
    robot.begin(ACTIONS, EmergencyStop())

    def tell(camera: str) -> None:
        for number in range(1, 200):
            robot.see(camera, ros.image(np.full((4, 4, 3), number, np.uint8), time_s=0.9 + number / 2000))
            robot.feel(
                ros.joints(
                    dict.fromkeys(("arm/1", "arm/2"), number / 100) | {"finger": 0.01}, time_s=0.9 + number / 2000
                )
            )

    threads = [Thread(target=tell, args=(camera,)) for camera in ("top", "wrist")]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if not robot.complaints():
            seen = robot.observe()
            assert all(len(np.unique(image)) == 1 for image in seen.images.values())
            assert seen.state[1] == seen.state[2]
    for thread in threads:
        thread.join()
    assert (robot.observe().images["wrist"] == 199).all()
