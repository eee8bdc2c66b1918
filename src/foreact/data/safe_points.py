"""At which compressed frames decoding may begin, read from the compressed bits themselves.

What a container calls a key frame is not enough: x264 marks the beginning of every intra refresh, x265's open groups
begin with frames whose neighbours need the group before, and some muxers mark the first frame of every fragment.
Decoding from such a frame gives wrong pictures without an error. So a frame counts as a safe point only if its codec's
standard says that nothing after it refers to anything before it.
"""

from collections.abc import Iterator
from enum import IntEnum

H264_IDR = 5
HEVC_CLEAN = range(16, 21)
"""BLA and IDR pictures."""
HEVC_OPEN = 21
"""A clean random access picture: only frames shown before it, though stored after it, need what came before."""
AV1_FRAME_UNITS = (3, 6)
"""Frame header, and frame header with tiles."""
EVERY_FRAME_ALONE = frozenset({"mjpeg", "png", "ffv1", "rawvideo", "prores", "dnxhd", "huffyuv", "ffvhuff", "qtrle"})


class SafePoint(IntEnum):
    """What may be decoded beginning at a compressed frame."""

    NONE = 0
    """Nothing for certain."""
    SHOWN_AFTER = 1
    """The frame itself, and every later one that is also shown later."""
    ALL = 2
    """The frame itself and every later one."""


class SafePointFinder:
    """Classifies compressed frames of one stream."""

    def __init__(self, codec: str, extradata: bytes | None):
        """Take FFmpeg's codec name and the stream's extradata, which tells how frames are cut into units."""
        self._codec = codec
        self._length_size = 0  # 0: units are set apart by start codes
        extradata = extradata or b""
        if codec == "h264" and len(extradata) > 4 and extradata[0] == 1:
            self._length_size = (extradata[4] & 3) + 1
        if codec == "hevc" and len(extradata) > 21 and extradata[0] == 1:
            self._length_size = (extradata[21] & 3) + 1

    def classify(self, frame: bytes) -> SafePoint:
        """Return what may be decoded beginning at a compressed frame."""
        if self._codec == "h264":
            kinds = {unit & 31 for unit in self._first_bytes_of_units(frame)}
            return SafePoint.ALL if H264_IDR in kinds else SafePoint.NONE
        if self._codec == "hevc":
            kinds = {unit >> 1 & 63 for unit in self._first_bytes_of_units(frame)}
            if kinds & set(HEVC_CLEAN):
                return SafePoint.ALL
            return SafePoint.SHOWN_AFTER if HEVC_OPEN in kinds else SafePoint.NONE
        if self._codec == "av1":
            return SafePoint.ALL if _is_shown_av1_key_frame(frame) else SafePoint.NONE
        if self._codec == "vp9":
            return SafePoint.ALL if _is_vp9_key_frame(frame) else SafePoint.NONE
        return SafePoint.ALL if self._codec in EVERY_FRAME_ALONE else SafePoint.NONE

    def _first_bytes_of_units(self, frame: bytes) -> Iterator[int]:
        """Yield the first byte of every unit of an H.264 or HEVC frame."""
        if not self._length_size:
            place = frame.find(b"\0\0\1")
            while 0 <= place < len(frame) - 3:
                yield frame[place + 3]
                place = frame.find(b"\0\0\1", place + 3)
            return
        place = 0
        while place + self._length_size < len(frame):
            start = place + self._length_size
            yield frame[start]
            place = start + int.from_bytes(frame[place:start], "big")


def _is_shown_av1_key_frame(frame: bytes) -> bool:
    """Whether the first frame of an AV1 temporal unit is a key frame that is shown: it resets all references."""
    place = 0
    while place < len(frame):
        header = frame[place]
        place += 2 if header & 4 else 1  # an extension byte may follow
        size = len(frame) - place
        if header & 2:
            size, place = _leb128(frame, place)
        if header >> 3 & 15 in AV1_FRAME_UNITS and place < len(frame):
            # show_existing_frame (1 bit), frame_type (2), show_frame (1): 0, 0 (key), 1.
            return frame[place] >> 4 == 0b0001
        place += size
    return False


def _leb128(data: bytes, place: int) -> tuple[int, int]:
    """Return a little-endian base-128 number and the place after it."""
    value = 0
    for shift in range(0, 56, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if not byte & 128:
            break
    return value, place


def _is_vp9_key_frame(frame: bytes) -> bool:
    """Whether a VP9 frame's uncompressed header says key frame: marker 2, profile, no existing frame shown, type 0."""
    if not frame or frame[0] >> 6 != 2:
        return False
    shift = 2 if frame[0] >> 4 & 3 == 3 else 3  # profile 3 has a reserved bit more
    return frame[0] >> shift & 1 == 0 and frame[0] >> (shift - 1) & 1 == 0
