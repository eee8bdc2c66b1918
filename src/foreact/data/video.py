"""Frames to MP4 and back, by PyAV."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from foreact.data.film import open_film
from foreact.errors import ConfigurationError, DatasetError, InputError

HALF_A_PERIOD = 0.49
"""How far a row's time may be from its frame's, in periods. At half of it two frames are equally near."""


@dataclass(frozen=True, kw_only=True)
class VideoSettings:
    """How frames are compressed.

    The default keeps colour at full resolution: with yuv420p, LeRobot's own default, the coloured edges of
    small synthetic images lose more (34 dB at any bit rate) than everything else in the line.
    """

    codec: str = "libx264"
    """FFmpeg's name of the encoder."""
    pixel_format: str = "yuv444p"
    """yuv444p keeps the colour of every pixel, yuv420p of every second in both directions."""
    crf: int = 8
    """Constant rate factor: 0 is lossless, 51 worst."""
    preset: str = "veryfast"
    """Effort of the encoder."""
    keyframe_interval: int = 4
    """Frames from one key frame to the next. Reading every fourth frame then decodes nothing else."""

    def __post_init__(self) -> None:
        if self.codec not in av.codecs_available:
            raise ConfigurationError(
                "VideoSettings.codec", got=self.codec, allowed="an encoder of this FFmpeg, such as libx264"
            )
        if not 0 <= self.crf <= 51:
            raise ConfigurationError("VideoSettings.crf", got=self.crf, allowed="0 to 51")
        if self.keyframe_interval < 1:
            raise ConfigurationError("VideoSettings.keyframe_interval", got=self.keyframe_interval, allowed="1 or more")

    @property
    def format_name(self) -> str:
        """FFmpeg's name of what the encoder makes, such as "h264"."""
        return av.Codec(self.codec, "w").canonical_name

    @property
    def options(self) -> dict[str, str]:
        """The encoder's options. No B-frames: they only add delay when key frames are this close.

        Of libx264 no macroblock tree either, which looks ahead to later frames of the same group and gains little in
        such short ones: with it, x264's assembly now and then makes other bytes of the same frames (85 of 1,500 small
        films, none without), so that a recording could not be repeated exactly. The films get a sixth larger.
        """
        options = {"crf": str(self.crf), "preset": self.preset, "g": str(self.keyframe_interval), "bf": "0"}
        return options | ({"mbtree": "0"} if self.codec == "libx264" else {})


def check_frame_size(name: str, size: tuple[int, int]) -> None:
    """Refuse a (height, width) that video encoders cannot take.

    Raises:
        ConfigurationError: An odd or non-positive side.
    """
    if any(side <= 0 or side % 2 for side in size):
        raise ConfigurationError(f"frame size of {name!r}", got=size, allowed="positive even height and width")


def encode_video(
    frames: Iterable[np.ndarray],
    *,
    fps: int,
    size: tuple[int, int],
    settings: VideoSettings,
    name: str = "video",
) -> bytes:
    """Return an MP4 file of the frames, at a constant rate, in memory.

    Args:
        frames: uint8 [height, width, 3], RGB, consumed one by one.
        fps: Frames per second.
        size: Height and width of every frame.
        settings: How to compress.
        name: What to call the video in an error.

    Raises:
        InputError: A frame of another size or type.
    """
    check_frame_size(name, size)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream: Any = container.add_stream(settings.codec, rate=fps, options=settings.options)
        stream.height, stream.width = size
        stream.pix_fmt = settings.pixel_format
        for index, frame in enumerate(frames):
            if frame.dtype != np.uint8 or frame.shape != (*size, 3):
                raise InputError(
                    f"frame {index} of {name!r}",
                    got=f"{frame.dtype} {list(frame.shape)}",
                    allowed=f"uint8 {[*size, 3]}",
                )
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def read_frames(
    path: Path | str, times_s: Sequence[float], *, tolerance_s: float | None = None
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Return the frames nearest to the given times, in the order asked, RGB.

    Args:
        path: A video file.
        times_s: Times counted from the file's first frame; repeats are allowed.
        tolerance_s: How far a frame may be from the time asked; None: half the usual time from frame to frame.

    Raises:
        DatasetError: The file is missing or damaged, or has no frame near one of the times.
    """
    film = open_film(Path(path).absolute())
    tolerance_s = HALF_A_PERIOD * film.period_s if tolerance_s is None else tolerance_s
    numbers, near = film.nearest(times_s, tolerance_s)
    if not near.all():
        time_s = np.asarray(times_s)[~near][0]
        raise DatasetError(
            f"video {path}",
            got=f"no frame at {time_s:.4f} s ({(~near).sum()} of {len(near)} times missing)",
            allowed=f"0 to {film.times_s[-1]:.4f} s, within {tolerance_s:.4f} s of a frame",
            cure="check the dataset's fps and timestamps: foreact doctor DATA shows them",
        )
    return film.frames(numbers)
