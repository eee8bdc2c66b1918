"""ROS messages to arrays and back. They are known by their attributes alone: nothing of ROS is imported."""

import io
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from PIL import Image

from foreact.errors import InputError

_RGB_BYTES = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}
"""Encoding to bytes a pixel, and which of them are red, green and blue."""
_YUV_422 = {"yuyv": (0, 1, 3), "yuv422_yuy2": (0, 1, 3), "uyvy": (1, 0, 2), "yuv422": (1, 0, 2)}
"""What webcams send: two pixels in four bytes, and where the first brightness, the blue and the red difference are."""


def read_stamp(header: Any) -> float:
    """Return a header's time stamp in seconds.

    Raises:
        InputError: It was never set.
    """
    if not header.stamp.sec and not header.stamp.nanosec:
        cure = "make the driver stamp its messages with the time at which they were taken"
        raise InputError("time stamp of a message", got=0, cure=cure)
    return header.stamp.sec + header.stamp.nanosec * 1e-9


def read_image(message: Any) -> np.ndarray:
    """Return the picture of a sensor_msgs/Image as uint8 [height, width, 3], RGB; bytes that pad rows are dropped.

    Raises:
        InputError: The encoding is none of 8 bits a colour, or the sizes do not fit together.
    """
    encodings = [*_RGB_BYTES, *_YUV_422]
    if message.encoding not in encodings:
        raise InputError("encoding of an image", got=repr(message.encoding), allowed=", ".join(encodings))
    num_bytes, order = _RGB_BYTES.get(message.encoding, (2, ()))
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    odd = message.encoding in _YUV_422 and width % 2
    if not height or not width or odd or step < width * num_bytes or len(data) != height * step:
        got = f"{width} x {height}, {step} bytes a row, {len(data)} bytes"
        raise InputError(f"sizes of a {message.encoding} image", got=got, allowed="rows that hold the width, all there")
    pixels = data.reshape(height, step)[:, : width * num_bytes].reshape(height, width, num_bytes)
    return _rgb_from_yuv(pixels, *_YUV_422[message.encoding]) if not order else pixels[..., order]


def _rgb_from_yuv(pixels: np.ndarray, luma: int, blue: int, red: int) -> np.ndarray:
    """Return RGB of [height, width, 2] bytes, two pixels sharing their colour: ITU-R BT.601, brightness 16 to 235."""
    height, width, _ = pixels.shape
    pairs = pixels.reshape(height, width // 2, 4).astype(np.float32)
    y = 1.164384 * (pairs[..., [luma, luma + 2]] - 16)
    u, v = pairs[..., [blue, blue]] - 128, pairs[..., [red, red]] - 128
    rgb = np.stack([y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8).reshape(height, width, 3)


def read_compressed(message: Any) -> np.ndarray:
    """Return the picture of a sensor_msgs/CompressedImage (JPEG or PNG) as uint8 [height, width, 3], RGB.

    Raises:
        InputError: It is neither, or damaged.
    """
    try:
        with Image.open(io.BytesIO(bytes(message.data)), formats=("JPEG", "PNG")) as picture:
            if picture.mode not in ("RGB", "RGBA", "L"):
                raise InputError("compressed image", got=f"pixels {picture.mode!r}", allowed="8 bits a colour")
            return np.asarray(picture.convert("RGB"))
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError("compressed image", got=f"{message.format!r}: {error}", allowed="JPEG or PNG") from error


def read_joints(message: Any) -> dict[str, float]:
    """Return joint name to position from a sensor_msgs/JointState; none if it tells none.

    Raises:
        InputError: As many positions as names are not there, a name is there twice, or a position is not finite.
    """
    if not len(message.position):  # a driver that tells velocities or efforts alone
        return {}
    if len(message.position) != len(message.name):
        got = f"{len(message.position)} positions, {len(message.name)} names"
        raise InputError("joint state", got=got, allowed="one position for each name")
    positions = dict(zip(message.name, map(float, message.position), strict=True))
    if len(positions) != len(message.name):
        raise InputError("joint state", got=", ".join(message.name), allowed="every name once")
    if wrong := [name for name, position in positions.items() if not isfinite(position)]:
        raise InputError(f"position of joints {', '.join(wrong)}", got="not finite", allowed="finite numbers")
    return positions


def write_trajectory(message: Any, point: Any, joints: Sequence[str], positions: Mapping[str, float], reach_s: float):
    """Return the blank trajectory_msgs/JointTrajectory, filled: be at `positions` in `reach_s` seconds from now.

    The stamp stays zero, by which controllers understand "from when this arrives": no clock is trusted.

    Args:
        message: Blank; filled in place.
        point: A blank JointTrajectoryPoint.
        joints: Whose positions, in this order.
        positions: Joint name to position.
        reach_s: Seconds.
    """
    nanoseconds = round(reach_s * 1e9)
    message.joint_names = list(joints)
    point.positions = [positions[joint] for joint in joints]
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(nanoseconds, 10**9)
    message.points = [point]
    return message


def write_array(message: Any, joints: Sequence[str], positions: Mapping[str, float]):
    """Return the blank std_msgs/Float64MultiArray, filled with the joints' positions in their order."""
    message.data = [positions[joint] for joint in joints]
    return message
