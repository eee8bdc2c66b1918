"""The still picture of each camera that imagining begins with, from files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from foreact.codecs.pixels import rgb_from_image
from foreact.embodiments import Embodiment
from foreact.errors import InputError, UnknownNameError


def picture_paths(given: Iterable[str]) -> dict[str, Path]:
    """Return the file of each camera, from words such as `top=table.png`.

    Raises:
        InputError: A word without a camera or a file, or a camera named twice.
    """
    paths: dict[str, Path] = {}
    for word in given:
        camera, _, path = word.partition("=")
        if not (camera and path):
            raise InputError("picture", got=repr(word), allowed="CAMERA=FILE, for example top=table.png")
        if camera in paths:
            raise InputError(f"pictures of camera {camera!r}", got=f"{paths[camera]} and {path}", allowed="one")
        paths[camera] = Path(path)
    return paths


def read_picture(path: Path) -> UInt8[np.ndarray, "1 _height _width 3"]:
    """Return a picture of any size and kind as one RGB frame, turned as its camera was held.

    Raises:
        InputError: No such file, or none that is a whole picture.
    """
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"picture {path}", got=got, allowed="a PNG or JPEG", cure="check the path")
    try:
        with Image.open(path) as picture:
            return rgb_from_image(ImageOps.exif_transpose(picture))[None]
    except InputError as error:
        raise InputError(f"picture {path}", got=error) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"picture {path}", got=error, allowed="a whole picture, such as PNG or JPEG") from error


def check_cameras(given: Iterable[str], embodiment: Embodiment) -> None:
    """Refuse pictures that are not one of each of the robot's cameras.

    Raises:
        UnknownNameError: The robot has no such camera.
        InputError: A camera without a picture.
    """
    named, cameras = list(given), embodiment.cameras
    for camera in named:
        if camera not in cameras:
            raise UnknownNameError("camera of this policy", camera, cameras)
    if missing := [camera for camera in cameras if camera not in named]:
        raise InputError(
            f"no picture of camera {', '.join(missing)}",
            got=", ".join(named) or "none",
            allowed=f"one of each: {', '.join(cameras)}",
            cure="add " + " ".join(f"{camera}=FILE" for camera in missing),
        )
