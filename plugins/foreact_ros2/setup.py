"""An ordinary ament_python package; colcon runs this."""

from pathlib import Path

from setuptools import setup

setup(
    name="foreact_ros2",
    version="0.1.0",
    description="A robot on ROS 2 topics, driven by a foreact policy server. Needs no torch.",
    license="Apache-2.0",
    maintainer="foreact's authors",
    maintainer_email="foreact@example.org",
    packages=["foreact_ros2"],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/foreact_ros2"]),
        ("share/foreact_ros2", ["package.xml"]),
        ("share/foreact_ros2/config", [str(path) for path in Path("config").glob("*.yaml")]),
        ("share/foreact_ros2/launch", [str(path) for path in Path("launch").glob("*.launch.py")]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest", "rosbags"]},
    zip_safe=True,
    entry_points={"console_scripts": ["bridge = foreact_ros2.node:main"]},
)
