"""The bridge: ros2 launch foreact_ros2 bridge.launch.py params:=FILE."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Return one node under the parameters of a file."""
    example = PathJoinSubstitution([FindPackageShare("foreact_ros2"), "config", "aloha.yaml"])
    node = Node(
        package="foreact_ros2",
        executable="bridge",
        name="foreact",
        parameters=[LaunchConfiguration("params")],
        output="screen",
        sigterm_timeout="15",  # the robot comes to rest first
    )
    return LaunchDescription([DeclareLaunchArgument("params", default_value=example), node])
