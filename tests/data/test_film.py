from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreact.data import film as module
from foreact.data.film import open_film
from foreact.data.safe_points import SafePoint
from foreact.data.video import read_frames
from foreact.errors import DatasetError

FPS, SIZE, NUM_FRAMES = 30, (64, 64), 61

QUIET = "log-level=none:"
# Codec, encoder options, container, container options; whether decoding may begin anywhere but at the start.
FILMS = {
    "closed groups": ("libx264", {"g": "8", "bf": "2"}, "mp4", {}, True),
    "one group": ("libx264", {"g": "250"}, "mp4", {}, False),
    "open groups": ("libx264", {"g": "8", "bf": "3", "x264-params": "open-gop=1"}, "mp4", {}, False),
    "intra refresh": ("libx264", {"g": "10", "x264-params": "intra-refresh=1:scenecut=0"}, "mp4", {}, False),
    "no edit list": ("libx264", {"g": "12", "bf": "2"}, "mp4", {"use_editlist": "0"}, True),
    "fragments": ("libx264", {"g": "20"}, "mp4", {"movflags": "frag_keyframe+empty_moov", "frag_size": "900"}, True),
    "fragment a frame": ("libx264", {"g": "20"}, "mp4", {"movflags": "frag_every_frame+empty_moov"}, True),
    "matroska": ("libx264", {"g": "8", "bf": "2"}, "mkv", {}, True),
    "transport stream": ("libx264", {"g": "8", "bf": "2"}, "ts", {}, True),
    "hevc of LeRobot": ("libx265", {"g": "2", "x265-params": QUIET}, "mp4", {}, True),
    "hevc, open groups": ("libx265", {"g": "12", "x265-params": QUIET + "open-gop=1:bframes=4"}, "mp4", {}, True),
    "hevc, closed groups": ("libx265", {"g": "12", "x265-params": QUIET + "open-gop=0"}, "mp4", {}, True),
    "av1": ("libsvtav1", {"g": "8"}, "mp4", {}, True),
    "vp9": ("libvpx-vp9", {"g": "8", "deadline": "realtime"}, "webm", {}, True),
    "vp8 with hidden frames": ("libvpx", {"g": "16", "auto-alt-ref": "1", "lag-in-frames": "16"}, "webm", {}, False),
    "mpeg4": ("mpeg4", {"g": "12", "bf": "2"}, "mp4", {}, False),
    "mjpeg in avi": ("mjpeg", {"q": "3"}, "avi", {}, True),
    "h264 in avi": ("libx264", {"g": "8", "bf": "2"}, "avi", {}, False),
}


def pictures():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    base = np.stack([3 * y, 3 * x, 2 * (x + y)], -1)
    noise = rng.integers(0, 40, (*SIZE, 3))
    for number in range(NUM_FRAMES):
        yield (np.roll(base, 3 * number, axis=1) + np.roll(noise, number, axis=0)).astype(np.uint8)


def write(path, codec, options, container_options):
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=Fraction(FPS), options=options)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module", params=FILMS)
def film(request, tmp_path_factory):
    codec, options, suffix, container_options, _ = FILMS[request.param]
    path = tmp_path_factory.mktemp("films") / f"film.{suffix}"
    write(path, codec, options, container_options)
    with av.open(str(path)) as container:
        every = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert len(every) == NUM_FRAMES
    return path, every, request.param


@settings(max_examples=25, deadline=None)
@given(choices=st.lists(st.lists(st.integers(0, NUM_FRAMES - 1), max_size=6), min_size=1, max_size=3))
def test_any_frames_in_any_order_equal_decoding_from_the_start(film, choices):
    path, every, _ = film
    for numbers in choices:
        np.testing.assert_array_equal(open_film(path).frames(numbers), every[numbers].reshape(-1, *SIZE, 3))


def test_frames_are_found_by_time_from_the_first_one(film):
    path, every, _ = film
    opened = open_film(path)
    assert (opened.num_frames, opened.times_s[0]) == (NUM_FRAMES, 0.0)
    assert opened.period_s == pytest.approx(1 / FPS, abs=1e-3)
    off = 0.4 / FPS
    times = [40 / FPS + off, 40 / FPS - off, 0.0, (NUM_FRAMES - 1) / FPS]
    np.testing.assert_array_equal(read_frames(path, times), every[[40, 40, 0, NUM_FRAMES - 1]])
    for time_s in (0.5 / FPS, NUM_FRAMES / FPS, 1000.0):
        with pytest.raises(DatasetError, match=r"no frame at .*1 of 2 times missing"):
            read_frames(path, [0.0, time_s])


def test_decoding_begins_late_only_where_the_codec_allows_it(film):
    path, _, name = film
    late = open_film(path).safe[1:] != SafePoint.NONE
    assert late.any() == FILMS[name][-1]


def test_a_film_without_safe_points_is_decoded_once_when_read_in_order(tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    write(path, "libx264", {"g": "250"}, {})
    decoded = []
    real = module._Decoder._keep

    def counting(self, frames, *rest):
        decoded.extend(frames)
        return real(self, frames, *rest)

    monkeypatch.setattr(module._Decoder, "_keep", counting)
    opened = open_film(path)
    for number in range(0, NUM_FRAMES, 4):
        opened.frames([number])
    before_far = sum(range(0, module.FAR_FRAMES + 8, 4))  # near the start, decoding begins anew
    assert len(decoded) <= before_far + 2 * NUM_FRAMES


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    path = tmp_path / "film.mp4"
    write(path, "libx264", {"g": "8"}, {})
    first = open_film(path)
    assert open_film(path) is first
    write(path, "libx264", {"g": "4"}, {})
    assert open_film(path) is not first
    assert open_film(path).digest(0, 9) != first.digest(0, 9)


def test_a_digest_is_of_the_frames_asked_for(tmp_path):
    path = tmp_path / "film.mp4"
    write(path, "libx264", {"g": "8"}, {})
    opened = open_film(path)
    assert opened.digest(0, 9) == opened.digest(0, 9) != opened.digest(1, 9)


def test_a_file_that_ends_early_is_named(tmp_path):
    path = tmp_path / "film.mp4"
    write(path, "libx264", {"g": "8"}, {"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: int(0.8 * len(content))])
    with pytest.raises(DatasetError, match=r"damaged; got: \d+ frames; allowed: 61"):
        open_film(path)


def test_a_frame_that_does_not_decode_is_named(tmp_path):
    path = tmp_path / "film.mp4"
    write(path, "libx264", {"g": "8", "bf": "0"}, {})
    opened = open_film(path)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    content[places[16] : places[24]] = b"\xff" * (places[24] - places[16])
    path.write_bytes(content)
    assert opened.safe[16] == SafePoint.ALL
    with pytest.raises(DatasetError, match=r"film\.mp4.*damaged"):
        opened.frames([18])


def test_a_file_that_is_no_film_is_named(tmp_path):
    path = tmp_path / "film.mp4"
    with pytest.raises(DatasetError, match=r"film\.mp4 is missing"):
        open_film(path)
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"film\.mp4 is empty"):
        open_film(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(DatasetError, match=r"git-lfs pointer.*git lfs pull"):
        open_film(path)
    path.write_text("<html>")
    with pytest.raises(DatasetError, match=r"film\.mp4 is damaged"):
        open_film(path)
