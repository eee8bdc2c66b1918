"""Frames to MP4 and back, by PyAV."""

import io
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from foreact.errors import ConfigurationError, DatasetError, InputError


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
        """The encoder's options. No B-frames: they only add delay when key frames are this close."""
        return {"crf": str(self.crf), "preset": self.preset, "g": str(self.keyframe_interval), "bf": "0"}


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
    path: Path, times_s: Sequence[float], *, num_frames: int | None = None, tolerance_s: float = 1e-4
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Return the frames shown at the given times, in the order asked, RGB.

    Only the groups of pictures that hold a wanted frame are decoded, each once.

    Args:
        path: A video file.
        times_s: Times in the file; repeats are allowed.
        num_frames: How many frames the file should hold; None to not check.
        tolerance_s: How far a frame's own time may be from the time asked.

    Raises:
        DatasetError: The file is missing, damaged, of another length, or has no frame at one of the times.
    """
    wanted = sorted(set(times_s))
    found: dict[float, np.ndarray] = {}
    with _opened(path) as (container, stream):
        if num_frames is not None and stream.frames not in (0, num_frames):
            raise DatasetError(
                f"video {path}",
                got=f"{stream.frames} frames",
                allowed=f"{num_frames}, as many as its episodes have rows",
                cure="download or record the dataset again",
            )
        if wanted:
            start = max(0, int((wanted[0] - tolerance_s) / stream.time_base))
            container.seek(start, stream=stream, backward=True)
        for frame in _decode_wanted(container, stream, wanted, tolerance_s):
            time_s = _nearest(wanted, float(frame.pts * stream.time_base), tolerance_s)
            if time_s is not None:
                found[time_s] = frame.to_ndarray(format="rgb24")
        shape = (stream.height, stream.width, 3)
    missing = [time_s for time_s in wanted if time_s not in found]
    if missing:
        raise DatasetError(
            f"video {path}",
            got=f"no frame at {missing[0]:.4f} s ({len(missing)} of {len(wanted)} times missing)",
            allowed=f"a frame within {tolerance_s} s of every row's time",
            cure="check the dataset's fps, or download or record it again",
        )
    return np.stack([found[time_s] for time_s in times_s]) if wanted else np.empty((0, *shape), np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file's first video stream; FFmpeg's errors become ours."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # One thread: frames are small, and callers read several episodes side by side.
            stream.codec_context.thread_count = 1
            yield container, stream
    except FileNotFoundError as error:
        raise DatasetError(f"video {path} is missing", cure="download or record the dataset again") from error
    except (av.FFmpegError, IndexError) as error:
        raise DatasetError(
            f"video {path} is damaged", got=str(error), cure="download or record the dataset again"
        ) from error


def _decode_wanted(container: Any, stream: Any, wanted: list[float], tolerance_s: float) -> Iterator[Any]:
    """Decode every group of pictures as far as its last wanted frame."""
    context = stream.codec_context
    for group in _groups_of_pictures(container, stream):
        times = [float(packet.pts * stream.time_base) for packet in group]
        if not wanted or min(times) > wanted[-1] + tolerance_s:
            break
        hits = [place for place, time_s in enumerate(times) if _nearest(wanted, time_s, tolerance_s) is not None]
        if hits:
            # A frame needs nothing that comes after it in the file: packets are in decoding order.
            for packet in group[: hits[-1] + 1]:
                yield from context.decode(packet)
            yield from context.decode(None)
            context.flush_buffers()


def _groups_of_pictures(container: Any, stream: Any) -> Iterator[list[Any]]:
    """Compressed frames from one key frame up to the next."""
    group: list[Any] = []
    for packet in container.demux(stream):
        if packet.pts is None:
            continue
        if packet.is_keyframe and group:
            yield group
            group = []
        group.append(packet)
    if group:
        yield group


def _nearest(wanted: list[float], time_s: float, tolerance_s: float) -> float | None:
    """The wanted time within the tolerance of a frame's own time."""
    index = bisect_left(wanted, time_s - tolerance_s)
    return wanted[index] if index < len(wanted) and wanted[index] <= time_s + tolerance_s else None
