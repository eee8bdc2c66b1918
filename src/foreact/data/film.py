"""A film: which frames a video file holds, and any of them exactly as decoding from the start would give it."""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from foreact.data.bounds import check_pixels, check_regular
from foreact.data.lerobot_files import CURE, refuse_pointer
from foreact.data.safe_points import EVERY_FRAME_ALONE, SafePoint, SafePointFinder
from foreact.errors import DatasetError

KEPT_INDICES = 64
"""Films whose index is kept in memory: some 40 bytes a frame."""
FAR_FRAMES = 32
"""Frames from a safe point beyond which an open decoder is kept, to go on with rather than to begin again."""
HIDES_FRAMES = frozenset({"vp8"})
"""Codecs whose packets may hold frames that are never shown."""
STAMPED = ("mov", "matroska", "webm", "mpegts", "flv", "nut")
"""Containers (FFmpeg's names) that say of every packet when it is shown. AVI does not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Film:
    """The index of a video file's first video stream, from one pass over its packets; nothing is decoded for it.

    Frames are numbered as they are shown, from 0.
    """

    path: Path
    """The file."""
    size: tuple[int, int]
    """Height and width, pixels."""
    times_s: Float[np.ndarray, " frames"]
    """When each frame is shown, counted from the first one."""
    stamps: Int[np.ndarray, " frames"]
    """The same in the file's own ticks; what a decoded frame is recognised by."""
    places: Int[np.ndarray, " frames"]
    """Each frame's place in the file: its packet's number."""
    packet_stamps: Int[np.ndarray, " packets"]
    """The stamp of each packet, in the file's order."""
    safe: Int[np.ndarray, " packets"]
    """What may be decoded from each packet on (`SafePoint`)."""
    digests: UInt8[np.ndarray, "packets 8"]
    """A hash of each packet's bytes."""
    counted: bool
    """Whether frames are recognised by counting from the start, since the file does not stamp them one by one."""

    @property
    def num_frames(self) -> int:
        """Frames that are shown."""
        return len(self.times_s)

    @property
    def period_s(self) -> float:
        """The usual time from one frame to the next; infinite for a single frame."""
        return float(np.median(np.diff(self.times_s))) if self.num_frames > 1 else np.inf

    def nearest(
        self, times_s: Sequence[float] | np.ndarray, tolerance_s: float
    ) -> tuple[Int[np.ndarray, " times"], Bool[np.ndarray, " times"]]:
        """Return the number of the frame nearest to each time, and whether it is within the tolerance."""
        times = np.asarray(times_s, np.float64)
        after = np.searchsorted(self.times_s, times).clip(0, self.num_frames - 1)
        before = (after - 1).clip(0)
        closer = np.abs(self.times_s[before] - times) <= np.abs(self.times_s[after] - times)
        numbers = np.where(closer, before, after)
        return numbers, np.abs(self.times_s[numbers] - times) <= tolerance_s

    def digest(self, first: int, last: int) -> bytes:
        """Return a hash of what frames `first` to `last` were compressed to."""
        places = np.sort(self.places[first : last + 1])
        return hashlib.blake2b(self.digests[places].tobytes(), digest_size=16).digest()

    def frames(self, numbers: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "frames height width 3"]:
        """Return frames by number, in the order asked, RGB.

        Each is decoded from the nearest safe point before it.

        Raises:
            DatasetError: The file is damaged: a frame does not decode.
        """
        wanted = [int(number) for number in numbers]
        if not wanted:
            return np.empty((0, *self.size, 3), np.uint8)
        found: dict[int, np.ndarray] = {}
        runs = self._runs(sorted(set(wanted)))
        with _errors_of(self.path):
            for index, (start, run) in enumerate(runs):
                is_last = index == len(runs) - 1
                found |= _decode(
                    self, start, run, keep_open=is_last and bool(self.places[run[-1]] - start > FAR_FRAMES)
                )
        if lost := [number for number in run_numbers(runs) if number not in found]:
            raise DatasetError(
                f"video {self.path}",
                got=f"no picture for frame {lost[0]} ({self.times_s[lost[0]]:.4f} s)",
                allowed=f"{self.num_frames} frames, as its index says",
                cure="it may be damaged: " + CURE,
            )
        return np.stack([found[number] for number in wanted])

    def _runs(self, wanted: list[int]) -> list[tuple[int, list[int]]]:
        """Return (packet to begin at, frames to decode from there), so that each frame's safe point is the nearest."""
        everywhere = np.flatnonzero(self.safe == SafePoint.ALL)
        shown_after = np.flatnonzero(self.safe == SafePoint.SHOWN_AFTER)
        runs: dict[int, list[int]] = {}
        for number in wanted:
            place, stamp = self.places[number], self.stamps[number]
            clean = everywhere[everywhere <= place][-1:]
            open_ones = shown_after[shown_after <= place]
            # Where frames are stored in another order than shown, only the last few points can be shown too late.
            open_ones = [p for p in open_ones[-4:] if self.packet_stamps[p] <= stamp][-1:]
            runs.setdefault(max([0, *map(int, clean), *map(int, open_ones)]), []).append(number)
        return sorted(runs.items())


def run_numbers(runs: list[tuple[int, list[int]]]) -> list[int]:
    """Return the frames of all runs."""
    return [number for _, run in runs for number in run]


def open_film(path: Path) -> Film:
    """Return the index of a video file; it is made once per file and kept.

    Raises:
        DatasetError: The file is missing or damaged, or has no video.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DatasetError(f"video {path} is missing", got=error.strerror, cure=CURE) from error
    return _index(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=KEPT_INDICES)
def _index(path: Path, mtime_ns: int, num_bytes: int) -> Film:
    """Read a file's packets. The time and size of the file are there to tell files of one name apart."""
    refuse_pointer(path)
    with _opened(path) as (container, stream):
        context = stream.codec_context
        codec = context.codec.canonical_name
        finder = SafePointFinder(codec, context.extradata)
        stamps: list[int | None] = []
        shown, safe, digests = [], [], []
        for packet in container.demux(stream):
            content = bytes(packet)
            if not content:
                continue  # the demuxer's end
            stamps.append(packet.pts)
            shown.append(not packet.is_discard)
            # Every packet is looked at, not only those that the container calls key frames.
            safe.append(finder.classify(content))
            digests.append(hashlib.blake2b(content, digest_size=8).digest())
        size = (stream.height, stream.width)
        ticks = float(stream.time_base)
        announced = stream.frames
        rate = stream.average_rate or stream.base_rate
        is_stamped = codec in EVERY_FRAME_ALONE or any(name in STAMPED for name in container.format.name.split(","))
    if len(stamps) < announced:
        raise DatasetError(
            f"video {path} is damaged", got=f"{len(stamps)} frames", allowed=f"{announced}, as it announces", cure=CURE
        )
    if not any(shown):
        raise DatasetError(f"video {path} is damaged", got="no frames", cure=CURE)
    counted = not is_stamped or None in stamps or len(set(stamps)) < len(stamps) or codec in HIDES_FRAMES
    if counted:
        return _count(path, size, safe, digests, float(rate or 1))
    every = np.array(stamps, np.int64)
    visible = np.flatnonzero(shown)
    order = visible[np.argsort(every[visible], kind="stable")]
    return Film(
        path=path,
        size=size,
        times_s=(every[order] - every[order[0]]) * ticks,
        stamps=every[order],
        places=order,
        packet_stamps=every,
        safe=np.array(safe, np.int8),
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 8),
        counted=False,
    )


def _count(path: Path, size: tuple[int, int], safe: list[int], digests: list[bytes], rate_hz: float) -> Film:
    """Return the index of a file whose packets are not stamped one frame each: its frames are decoded and counted."""
    with _opened(path) as (container, stream):
        num_frames = sum(1 for _ in container.decode(stream))
    numbers = np.arange(num_frames)
    places = np.minimum(numbers, len(safe) - 1)
    return Film(
        path=path,
        size=size,
        times_s=numbers / rate_hz,
        stamps=numbers,
        places=places,
        packet_stamps=np.arange(len(safe)),
        safe=np.zeros(len(safe), np.int8),
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 8),
        counted=True,
    )


class _Decoder:
    """Decodes a film from one packet on, frame by frame, until it is closed."""

    def __init__(self, film: Film, start: int):
        self.film = film
        self.next_number = 0  # of the frame shown next, where frames are counted
        self.last_stamp: int | None = None
        self._manager = _opened(film.path)
        self._container, self._stream = self._manager.__enter__()
        self._packets = self._from(start)

    def _from(self, start: int) -> Iterator[tuple[int, Any]]:
        """Yield (number, packet) from packet `start` on."""
        if start:
            self._container.seek(int(self.film.packet_stamps[start]), stream=self._stream, backward=True)
        packets = (packet for packet in self._container.demux(self._stream) if packet.size)
        first = next(packets, None)
        if first is None:
            return
        number = self._number_of(first)
        if number > start:  # the container's own index led past it
            self._container.seek(0, stream=self._stream, backward=True)
            packets = (packet for packet in self._container.demux(self._stream) if packet.size)
            first, number = next(packets), 0
        while number < start:
            first, number = next(packets), number + 1
        yield number, first
        for packet in packets:
            number += 1
            yield number, packet

    def _number_of(self, packet: Any) -> int:
        if self.film.counted:
            return 0
        return int(np.flatnonzero(self.film.packet_stamps == packet.pts)[0])

    def run(self, wanted: list[int], *, drain: bool) -> dict[int, np.ndarray]:
        """Decode on until every wanted frame has come out.

        Args:
            wanted: Numbers of frames, ascending, none of them shown before what came out last.
            drain: Ask for the frames that are held back as soon as the last wanted packet is in; nothing can be decoded
                after that.
        """
        left = {int(self.film.stamps[number]): number for number in wanted}
        last_place = int(self.film.places[wanted].max()) if not self.film.counted else None
        found: dict[int, np.ndarray] = {}
        context = self._stream.codec_context
        for number, packet in self._packets:
            self._keep(context.decode(packet), left, found)
            if not left or (drain and number == last_place):
                break
        if left:
            self._keep(context.decode(None), left, found)
        return found

    def _keep(self, frames: list[Any], left: dict[int, int], found: dict[int, np.ndarray]) -> None:
        for frame in frames:
            stamp = self.next_number if self.film.counted else frame.pts
            self.next_number += 1
            self.last_stamp = stamp
            if stamp in left:
                if frame.is_corrupt:
                    raise DatasetError(f"video {self.film.path} is damaged", got=f"frame {left[stamp]}", cure=CURE)
                if (frame.height, frame.width) != self.film.size:
                    raise DatasetError(
                        f"video {self.film.path}: frame {left[stamp]}",
                        got=f"{frame.width} x {frame.height} pixels",
                        allowed=f"{self.film.size[1]} x {self.film.size[0]}, as its header says",
                        cure="it may be damaged: " + CURE,
                    )
                found[left.pop(stamp)] = frame.to_ndarray(format="rgb24")

    def close(self) -> None:
        """Let go of the file."""
        self._manager.__exit__(None, None, None)


_kept = threading.local()
"""The decoder of this thread that may go on: reading a film without safe points in order then takes one pass."""


def _decode(film: Film, start: int, wanted: list[int], *, keep_open: bool) -> dict[int, np.ndarray]:
    decoder: _Decoder | None = getattr(_kept, "decoder", None)
    _kept.decoder = None
    goes_on = (
        decoder is not None
        and decoder.film is film
        and decoder.last_stamp is not None
        and film.stamps[wanted[0]] > decoder.last_stamp
        and film.packet_stamps[start] <= decoder.last_stamp
    )
    if not goes_on:
        if decoder is not None:
            decoder.close()
        decoder = _Decoder(film, start)
    assert decoder is not None
    try:
        found = decoder.run(wanted, drain=not keep_open)
    except BaseException:
        decoder.close()
        raise
    if keep_open and len(found) == len(wanted):
        _kept.decoder = decoder
    else:
        decoder.close()
    return found


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Open a file's first video stream; FFmpeg's errors become ours."""
    check_regular(path)
    with _errors_of(path), av.open(str(path)) as container:
        if not container.streams.video:
            raise DatasetError(f"video {path} is damaged", got="no video stream", cure=CURE)
        stream = container.streams.video[0]
        check_pixels(f"video {path}", (stream.height, stream.width))
        # One thread: frames are small, and callers read several episodes side by side.
        stream.codec_context.thread_count = 1
        yield container, stream


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetError(f"video {path} is missing", cure=CURE) from error
    except (av.FFmpegError, IndexError, StopIteration) as error:
        raise DatasetError(f"video {path} is damaged", got=str(error), cure=CURE) from error
