"""Conversions, of messages that went through ROS's wire format."""

import io
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foreact.errors import InputError
from foreact_ros2.messages import read_compressed, read_image, read_joints, read_stamp, write_array, write_trajectory

RNG = np.random.default_rng(0)
ORDERS = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "rgba8": [0, 1, 2], "bgra8": [2, 1, 0]}


def noise(height: int, width: int, num_bytes: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, num_bytes), dtype=np.uint8)


@given(
    st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8", "mono8"]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 5),
)
def test_every_encoding_with_rows_that_are_padded(ros, encoding: str, height: int, width: int, padding: int) -> None:
    num_bytes = 1 if encoding == "mono8" else len(encoding) - 1
    pixels = noise(height, width, num_bytes)
    image = read_image(ros.wire(ros.image(pixels, encoding=encoding, padding=padding)))
    assert image.dtype == np.uint8 and image.shape == (height, width, 3)
    for row in range(height):  # pixel by pixel, as the encoding's name says
        for column in range(width):
            colours = dict(zip(encoding.rstrip("8") if num_bytes > 1 else "m", pixels[row, column], strict=True))
            expected = [colours.get("m", colours.get(colour)) for colour in "rgb"]
            assert image[row, column].tolist() == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: array("B", b)])
def test_data_of_any_kind_that_holds_bytes(ros, kind) -> None:
    pixels = noise(4, 5, 3)
    message = ros.image(pixels)
    message.data = kind(pixels.tobytes())
    assert np.array_equal(read_image(message), pixels)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": "16UC1"},
        {"encoding": "bayer_rggb8"},
        {"height": 5},
        {"width": 6},
        {"step": 14},
        {"step": 16},
        {"height": 0, "data": np.zeros(0, np.uint8)},
        {"data": np.zeros(59, np.uint8)},
    ],
)
def test_images_that_do_not_fit_together(ros, changes) -> None:
    message = ros.image(noise(4, 5, 3))
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match="image"):
        read_image(message)


def compressed(ros, picture: Image.Image, kind: str, **settings):
    data = io.BytesIO()
    picture.save(data, kind, **settings)
    content = np.frombuffer(data.getvalue(), np.uint8)
    message = ros.blank("sensor_msgs/msg/CompressedImage", header=ros.header(100.0), format=kind, data=content)
    return ros.wire(message)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_png_is_exact(ros, mode: str) -> None:
    pixels = noise(6, 7, {"RGB": 3, "L": 1, "RGBA": 4}[mode])
    image = read_compressed(compressed(ros, Image.fromarray(pixels.squeeze(), mode), "PNG"))
    assert np.array_equal(image, np.repeat(pixels, 3, 2) if mode == "L" else pixels[..., :3])


def test_jpeg_is_near(ros) -> None:
    ramp = np.linspace(0, 255, 32, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(40)), axis=-1)
    image = read_compressed(compressed(ros, Image.fromarray(pixels), "JPEG", quality=95, subsampling=0))
    assert np.abs(image.astype(int) - pixels).max() < 12


def test_compressed_images_that_are_none(ros) -> None:
    message = compressed(ros, Image.fromarray(noise(4, 4, 3)), "PNG")
    for data in (message.data[:40], np.zeros(50, np.uint8), np.zeros(0, np.uint8)):
        message.data = data
        with pytest.raises(InputError, match="compressed image"):
            read_compressed(message)
    with pytest.raises(InputError, match="JPEG or PNG"):
        read_compressed(compressed(ros, Image.fromarray(noise(4, 4, 3)), "BMP"))
    depth = Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4))
    with pytest.raises(InputError, match="8 bits"):
        read_compressed(compressed(ros, depth, "PNG"))


def test_joints_by_name(ros) -> None:
    positions = {"b": 0.25, "a": -1.5}
    assert read_joints(ros.wire(ros.joints(positions))) == positions
    assert read_joints(ros.wire(ros.joints({}))) == {}


@pytest.mark.parametrize(
    ("names", "positions", "words"),
    [
        (["a", "b"], [0.0], "one position for each"),
        (["a", "a"], [0.0, 1.0], "once"),
        (["a", "b"], [0.0, float("nan")], "b"),
        (["a", "b"], [float("inf"), 0.0], "a"),
    ],
)
def test_joint_states_that_cannot_be_used(ros, names, positions, words) -> None:
    message = ros.joints({})
    message.name, message.position = names, np.array(positions)
    with pytest.raises(InputError, match=words):
        read_joints(ros.wire(message))


def test_velocities_alone_say_nothing(ros) -> None:
    message = ros.joints({})
    message.name, message.velocity = ["a"], np.array([1.0])
    assert read_joints(ros.wire(message)) == {}


def test_stamps(ros) -> None:
    assert read_stamp(ros.header(1_700_000_000.25)) == 1_700_000_000.25
    with pytest.raises(InputError, match="stamp"):
        read_stamp(ros.header(0.0))


def test_trajectories_name_their_joints(ros) -> None:
    blank = ros.blank("trajectory_msgs/msg/JointTrajectory"), ros.blank("trajectory_msgs/msg/JointTrajectoryPoint")
    told = ros.wire(write_trajectory(*blank, ["c", "a"], {"a": 0.1, "b": 0.2, "c": 0.3}, 1.02))
    assert told.joint_names == ["c", "a"] and len(told.points) == 1
    assert told.points[0].positions.tolist() == [0.3, 0.1] and not len(told.points[0].velocities)
    reach = told.points[0].time_from_start
    assert (reach.sec, reach.nanosec) == (1, 20_000_000)
    assert (told.header.stamp.sec, told.header.stamp.nanosec) == (0, 0)  # from when it arrives


def test_arrays_follow_the_order_they_are_asked_for(ros) -> None:
    told = ros.wire(write_array(ros.blank("std_msgs/msg/Float64MultiArray"), ["c", "a"], {"a": 0.1, "c": 0.3}))
    assert told.data.tolist() == [0.3, 0.1] and not told.layout.dim


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuyv", "yuyv"), ("yuv422_yuy2", "yuyv"), ("uyvy", "uyvy"), ("yuv422", "uyvy")]
)
def test_what_webcams_send(ros, encoding: str, order: str) -> None:
    """Grey of half brightness, then white and black, then pure red beside it, as ITU-R BT.601 has them."""
    colours = {"y": [126, 126, 235, 16, 81, 81], "u": [128, 128, 90], "v": [128, 128, 240]}
    rows = []
    for pair in range(3):
        brightness = iter(colours["y"][2 * pair : 2 * pair + 2])
        rows += [next(brightness) if c == "y" else colours[c][pair] for c in order]
    message = ros.image(np.array(rows, np.uint8).reshape(1, 6, 2), encoding=encoding)
    expected = [[128] * 3, [128] * 3, [255] * 3, [0] * 3, [254, 0, 0], [254, 0, 0]]
    assert np.abs(read_image(message)[0].astype(int) - expected).max() <= 1
    message.width, message.step = 5, 10
    message.data = np.zeros(10, np.uint8)
    with pytest.raises(InputError, match="sizes"):
        read_image(message)
