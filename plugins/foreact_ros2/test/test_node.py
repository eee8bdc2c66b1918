"""The node's wiring, against a stand-in for rclpy: see `stand_in`. Where rclpy is, this is skipped."""

import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

if importlib.util.find_spec("rclpy"):
    pytest.skip("the stand-in would hide the real rclpy", allow_module_level=True)

TRIGGER = SimpleNamespace


@pytest.fixture
def there(parameters) -> Iterator[SimpleNamespace]:
    """rclpy, as far as the node knows it; and the node's module."""
    import stand_in

    before = set(sys.modules)
    rclpy = stand_in.install()
    rclpy.Node.given, rclpy.Node.made = parameters, []
    rclpy.executor.spinning = threading.Event()
    import foreact_ros2.node as module

    handlers = {name: list(logging.getLogger(name).handlers) for name in ("foreact", "foreact_ros2")}
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield SimpleNamespace(module=module, **vars(rclpy))
    for name, kept in handlers.items():
        logging.getLogger(name).handlers[:] = kept
    for number, handler in signals.items():
        signal.signal(number, handler)
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("rclpy", "sensor_msgs", "std_msgs", "std_srvs", "trajectory_msgs", "foreact_ros2"):
            del sys.modules[name]


def test_topics_and_services(there) -> None:
    node = there.module.Bridge()
    assert node.name == "foreact"
    assert set(node.listeners) == {"~/emergency_stop", "~/instruction", "/joint_states", "/top", "/wrist"}
    assert node.listeners["/wrist"][0].made.__msgtype__ == "sensor_msgs/msg/CompressedImage"
    assert node.listeners["/top"][0].made.__msgtype__ == "sensor_msgs/msg/Image"
    assert set(node.services_) == {"~/start", "~/stop"}
    told = {topic: publisher.kind.made.__msgtype__.split("/")[-1] for topic, publisher in node.publishers_.items()}
    assert told == {
        "/arm/joint_trajectory": "JointTrajectory",
        "/hand/commands": "Float64MultiArray",
        "~/disagreement": "Float32",
        "~/report": "String",
    }


def test_no_picture_keeps_the_emergency_stop_waiting(there) -> None:
    node = there.module.Bridge()
    stopping = {node.listeners["~/emergency_stop"][2], *(group for _, _, group in node.services_.values())}
    assert len(stopping) == 1 and stopping.isdisjoint({node.listeners["/top"][2], node.listeners["/joint_states"][2]})


def test_commands_go_to_their_topics(there) -> None:
    node = there.module.Bridge()
    node._send({"arm/1": 0.1, "arm/2": 0.2, "finger": 0.03})
    (trajectory,) = node.publishers_["/arm/joint_trajectory"].published
    assert trajectory.joint_names == ["arm/2", "arm/1"] and trajectory.points[0].positions == [0.2, 0.1]
    (numbers,) = node.publishers_["/hand/commands"].published
    assert numbers.data == [0.03] and all(type(number) is float for number in numbers.data)


def test_messages_reach_the_robot_and_bad_ones_the_log(there) -> None:
    node, ros = there.module.Bridge(), there.ros
    now_s = there.Node.now_s
    node.listeners["/joint_states"][1](ros.joints({"arm/1": 0.1, "arm/2": 0.2, "finger": 0.01}, time_s=now_s))
    node.listeners["/top"][1](ros.image(np.zeros((2, 2, 3), np.uint8), time_s=now_s))
    assert node._robot.complaints() == ["camera 'wrist' was never heard"]
    node.listeners["/top"][1](ros.image(np.zeros((2, 2, 3), np.uint8), time_s=now_s + 1, encoding="rgb8"))
    assert node._logger.lines[-1][0] == "warning" and "ahead" in node._logger.lines[-1][1]


def test_services_and_the_emergency_stop(there) -> None:
    node, ros = there.module.Bridge(), there.ros

    def call(name: str) -> TRIGGER:
        return node.services_[name][1](TRIGGER(), TRIGGER(success=None, message=None))

    node.listeners["~/emergency_stop"][1](ros.blank("std_msgs/msg/Bool", data=True))
    node.listeners["~/instruction"][1](ros.blank("std_msgs/msg/String", data=""))
    refused = call("~/start")
    assert not refused.success and refused.message == "the emergency stop is pressed; there is no instruction"
    assert call("~/stop").success
    node.runs._tell_disagreement(np.float32(0.25))
    node.runs._tell_report("{}")
    assert node.publishers_["~/disagreement"].published[0].data == 0.25
    assert node.publishers_["~/report"].published[0].data == "{}"
    assert node.publishers_["~/report"].qos["durability"] == "transient local"


def test_the_log_goes_to_ros(there) -> None:
    node = there.module.Bridge()
    handler = there.module.RosLog(node.get_logger())
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        handler.emit(logging.LogRecord("foreact", level, "", 0, "it %s", ("is",), None))
    assert node._logger.lines == [("info", "it is"), ("warning", "it is"), ("error", "it is")]


@pytest.mark.parametrize("by", ["signal", "ros"])
def test_main_ends_after_the_robot_is_at_rest(there, monkeypatch, by: str) -> None:
    """The robot is stopped while ROS still spins; then ROS is shut down."""
    monkeypatch.setitem(there.Node.given, "autostart", True)
    order = []

    class Runs:
        def __init__(self, *_, **__):
            pass

        def start(self) -> tuple[bool, str]:
            end = there.executor.spinning.set if by == "ros" else lambda: os.kill(os.getpid(), signal.SIGTERM)
            threading.Timer(0.1, end).start()
            return True, "started"

        def close(self) -> bool:
            order.append(("closed", there.Node.made[0].destroyed, list(there.calls)))
            return False

    monkeypatch.setattr(there.module, "Runs", Runs)
    there.module.main([])
    (closed,) = order
    assert closed == ("closed", False, [("init", {"args": [], "signal_handler_options": "no"})])
    node = there.Node.made[0]
    assert node.destroyed and there.calls[-1] == ("try_shutdown", {})
    assert ("info", "started") in node._logger.lines and node._logger.lines[-1][0] == "error"


def test_main_tells_what_is_wrong_with_the_parameters(there, monkeypatch) -> None:
    monkeypatch.setitem(there.Node.given, "image_age", 1.0)
    with pytest.raises(SystemExit, match="image_age_s"):
        there.module.main([])
    assert there.calls[-1] == ("try_shutdown", {})
