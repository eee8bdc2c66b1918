"""Stands in for rclpy where there is none: what the node calls, by rclpy's names and signatures, and nothing else.

It shows that the wiring holds together. It cannot show that rclpy behaves like this.
"""

import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

from conftest import Ros


class Publisher:
    def __init__(self, kind: Any, topic: str, qos: Any):
        self.kind, self.topic, self.qos, self.published = kind, topic, qos, []

    def publish(self, message: Any) -> None:
        assert isinstance(message, self.kind.made), f"{self.topic}: {message}"  # rclpy refuses other types
        self.published.append(message)


class Logger:
    def __init__(self):
        self.lines = []

    def info(self, text: str, **settings: Any) -> None:
        self.lines.append(("info", text))

    def warning(self, text: str, **settings: Any) -> None:
        self.lines.append(("warning", text))

    def error(self, text: str, **settings: Any) -> None:
        self.lines.append(("error", text))


class Node:
    """Parameters are taken from `given`; nodes made are kept in `made`."""

    given: ClassVar[dict[str, Any]] = {}
    now_s = 1_700_000_005.0
    made: ClassVar[list["Node"]] = []

    def __init__(self, name: str, *, automatically_declare_parameters_from_overrides: bool = False):
        assert automatically_declare_parameters_from_overrides
        self.name, self.publishers_, self.listeners, self.services_ = name, {}, {}, {}
        self._logger, self.destroyed = Logger(), False
        self._parameters = {name: SimpleNamespace(value=value) for name, value in Node.given.items()}
        self._parameters["use_sim_time"] = SimpleNamespace(value=False)
        Node.made.append(self)

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Any]:
        assert prefix == ""
        return dict(self._parameters)

    def get_parameter(self, name: str) -> Any:
        return self._parameters[name]

    def create_publisher(self, msg_type: Any, topic: str, qos_profile: Any) -> Publisher:
        self.publishers_[topic] = Publisher(msg_type, topic, qos_profile)
        return self.publishers_[topic]

    def create_subscription(self, msg_type: Any, topic: str, callback: Any, qos_profile: Any, *, callback_group=None):
        self.listeners[topic] = (msg_type, callback, callback_group)

    def create_service(self, srv_type: Any, srv_name: str, callback: Any, *, callback_group: Any = None) -> None:
        self.services_[srv_name] = (srv_type, callback, callback_group)

    def get_logger(self) -> Logger:
        return self._logger

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=round(Node.now_s * 1e9)))

    def destroy_node(self) -> None:
        self.destroyed = True


class ExternalShutdownException(Exception):  # noqa: N818 (rclpy's name)
    pass


class MultiThreadedExecutor:
    spinning = threading.Event()
    """What ends `spin`."""

    def __init__(self, num_threads: int | None = None):
        self.num_threads = num_threads

    def add_node(self, node: Node) -> None:
        self.node = node

    def spin(self) -> None:
        MultiThreadedExecutor.spinning.wait(60)
        raise ExternalShutdownException

    def shutdown(self) -> None:
        MultiThreadedExecutor.spinning.set()


def install() -> SimpleNamespace:
    """Put the modules where imports find them; return what a test looks at."""
    ros = Ros()

    def message(kind: str) -> Any:
        constructor = lambda **given: ros.blank(kind, **given)  # noqa: E731
        constructor.made = ros.store.types[kind]
        return constructor

    calls: list[tuple[str, dict]] = []
    modules = {
        "rclpy": {
            "init": lambda **settings: calls.append(("init", settings)),
            "try_shutdown": lambda: calls.append(("try_shutdown", {})),
        },
        "rclpy.callback_groups": {"MutuallyExclusiveCallbackGroup": type("MutuallyExclusiveCallbackGroup", (), {})},
        "rclpy.executors": {
            "ExternalShutdownException": ExternalShutdownException,
            "MultiThreadedExecutor": MultiThreadedExecutor,
        },
        "rclpy.node": {"Node": Node},
        "rclpy.qos": {
            "DurabilityPolicy": SimpleNamespace(TRANSIENT_LOCAL="transient local"),
            "QoSProfile": lambda **settings: settings,
            "qos_profile_sensor_data": "sensor data",
        },
        "rclpy.signals": {"SignalHandlerOptions": SimpleNamespace(NO="no")},
        "std_srvs.srv": {"Trigger": SimpleNamespace(Request=SimpleNamespace, Response=SimpleNamespace)},
    }
    kinds = ("sensor_msgs/CompressedImage", "sensor_msgs/Image", "sensor_msgs/JointState", "std_msgs/Bool")
    kinds += ("std_msgs/Float32", "std_msgs/Float64MultiArray", "std_msgs/String")
    kinds += ("trajectory_msgs/JointTrajectory", "trajectory_msgs/JointTrajectoryPoint")
    for package, name in (kind.split("/") for kind in kinds):
        modules.setdefault(f"{package}.msg", {})[name] = message(f"{package}/msg/{name}")
    for name, content in modules.items():
        sys.modules.setdefault(name.split(".")[0], ModuleType(name.split(".")[0]))
        sys.modules[name] = sys.modules.get(name) or ModuleType(name)
        vars(sys.modules[name]).update(content)
    return SimpleNamespace(Node=Node, executor=MultiThreadedExecutor, calls=calls, ros=ros)
