"""The ROS 2 node: parameters, topics and services, wired to what knows nothing of ROS.

It ends on SIGINT and SIGTERM after the robot has come to rest. ROS's own handlers would shut its topics first, and the
robot would never hear that it is to stop: so they are not installed, and ROS spins in a thread beside this one.
"""

# pyright: reportMissingImports=false
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event, Thread
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float32, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from foreact.control.clock import RealClock
from foreact.errors import ForeactError
from foreact_ros2.messages import write_array, write_trajectory
from foreact_ros2.runs import Runs
from foreact_ros2.settings import BridgeSettings, Commands, read_parameters
from foreact_ros2.topics_robot import TopicsRobot

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Bridge(Node):
    """The node "foreact". What stops the robot has a thread of its own, which no picture keeps waiting."""

    def __init__(self):
        """Read the parameters, and listen.

        Raises:
            ConfigurationError: A parameter is wrong.
        """
        super().__init__("foreact", automatically_declare_parameters_from_overrides=True)
        names = self.get_parameters_by_prefix("")
        self.settings = read_parameters({name: self.get_parameter(name).value for name in names})
        self._senders = [(group, self._sender(group)) for group in self.settings.commands]
        clock = RealClock()
        self._robot = TopicsRobot(self.settings, ros_now=self._now_s, clock=clock, send=self._send)
        disagreement = self.create_publisher(Float32, "~/disagreement", 10)
        report = self.create_publisher(String, "~/report", _LATCHED)
        self.runs = Runs(
            self._robot,
            self.settings,
            clock=clock,
            tell_disagreement=lambda value: disagreement.publish(Float32(data=float(value))),
            tell_report=lambda text: report.publish(String(data=text)),
        )
        self._listen(self.settings)

    def _listen(self, settings: BridgeSettings) -> None:
        stopping = MutuallyExclusiveCallbackGroup()
        self.create_subscription(Bool, "~/emergency_stop", self._press, 10, callback_group=stopping)
        self.create_service(Trigger, "~/stop", self._stop, callback_group=stopping)
        self.create_service(Trigger, "~/start", self._start, callback_group=stopping)
        self.create_subscription(String, "~/instruction", self._instruct, 10, callback_group=stopping)
        for topic in settings.joint_states:
            feel = partial(self._take, self._robot.feel)
            self.create_subscription(JointState, topic, feel, qos_profile_sensor_data)
        for camera in settings.cameras:
            kind = CompressedImage if camera.compressed else Image
            see = partial(self._take, partial(self._robot.see, camera.name))
            self.create_subscription(kind, camera.topic, see, qos_profile_sensor_data)

    def _take(self, take: Callable[[Any], None], message: Any) -> None:
        """Take a message in; one that cannot be used is told of, and soon nothing fresh is there to act on."""
        try:
            take(message)
        except ForeactError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=1.0)

    def _press(self, message: Bool) -> None:
        self.runs.press(message.data)

    def _instruct(self, message: String) -> None:
        self.runs.instruct(message.data)

    def _start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.runs.start()
        return response

    def _stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self.runs.stop("asked to stop")
        return response

    def _sender(self, group: Commands) -> Any:
        kind = JointTrajectory if group.message == "trajectory" else Float64MultiArray
        return self.create_publisher(kind, group.topic, 1)

    def _send(self, positions: Mapping[str, float]) -> None:
        for group, sender in self._senders:
            if group.message == "trajectory":
                blank, reach_s = (JointTrajectory(), JointTrajectoryPoint()), self.settings.reach_s
                sender.publish(write_trajectory(*blank, group.joints, positions, reach_s))
            else:
                sender.publish(write_array(Float64MultiArray(), group.joints, positions))

    def _now_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9


class RosLog(logging.Handler):
    """Hands Python's log records to ROS."""

    def __init__(self, logger: Any):
        """Hand them to `logger`."""
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one on; ROS wants each severity from a line of its own."""
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def main(args: list[str] | None = None) -> None:
    """Run the node until it is told to end."""
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = Bridge()
    except ForeactError as error:
        rclpy.try_shutdown()
        sys.exit(str(error))
    for name in ("foreact", "foreact_ros2"):
        logging.getLogger(name).addHandler(RosLog(node.get_logger()))
    ending = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    executor = MultiThreadedExecutor(num_threads=2)
    executor.add_node(node)
    spinning = Thread(target=_spin, args=(executor, ending), name="foreact-ros", daemon=True)
    spinning.start()
    if node.settings.autostart:
        node.get_logger().info(node.runs.start()[1])
    ending.wait()
    if not node.runs.close():
        node.get_logger().error("the robot did not come to rest in time")
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def _spin(executor: MultiThreadedExecutor, ending: Event) -> None:
    """Hand messages out; if that ends, by whatever, so does the node."""
    try:
        executor.spin()
    except ExternalShutdownException:
        pass
    finally:
        ending.set()


if __name__ == "__main__":
    main()
