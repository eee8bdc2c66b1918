from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreact.data.video import VideoSettings, check_frame_size, encode_video, read_frames
from foreact.errors import ConfigurationError, DatasetError, InputError

FPS, SIZE, NUM_FRAMES = 30, (32, 48), 23


def pictures():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    base = np.stack([6 * y, 4 * x, 2 * (x + y)], -1).astype(np.uint8)
    return [np.roll(base, 2 * index, axis=1) for index in range(NUM_FRAMES)]


def write_with_reordered_frames(path):
    """B-frames and long groups of pictures, as other people's files have them."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"bf": "3", "g": "10", "crf": "5"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module", params=[1, 4, 7, "reordered"])
def video(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "file.mp4"
    if request.param == "reordered":
        write_with_reordered_frames(path)
    else:
        settings = VideoSettings(keyframe_interval=request.param)
        path.write_bytes(encode_video(pictures(), fps=FPS, size=SIZE, settings=settings))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return path, np.stack(frames)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.integers(0, NUM_FRAMES - 1), max_size=12))
def test_any_choice_of_frames_equals_decoding_everything(video, rows):
    path, everything = video
    frames = read_frames(path, [row / FPS for row in rows])
    np.testing.assert_array_equal(frames, everything[rows].reshape(-1, *SIZE, 3))


def test_default_keeps_pictures(tmp_path):
    """Hard colour edges, one pixel wide, which yuv420p cannot keep."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:, ::4], picture[:, 2::4] = (220, 30, 20), (20, 40, 200)
    psnr = {}
    for pixel_format in ("yuv444p", "yuv420p"):
        settings = VideoSettings(pixel_format=pixel_format)
        path = tmp_path / f"{pixel_format}.mp4"
        path.write_bytes(encode_video([picture] * 5, fps=FPS, size=SIZE, settings=settings))
        error = read_frames(path, [0.0, 1 / FPS]).astype(float) - picture
        psnr[pixel_format] = 10 * np.log10(255**2 / np.mean(error**2))
    assert psnr["yuv444p"] > 38 > psnr["yuv420p"]


@pytest.mark.parametrize("time_s", [NUM_FRAMES / FPS, 0.5 / FPS, 1000.0])
def test_time_without_a_frame_is_an_error(video, time_s):
    with pytest.raises(DatasetError, match=r"no frame at .*1 of 2 times missing"):
        read_frames(video[0], [0.0, time_s])


def test_missing_file(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.mp4 is missing"):
        read_frames(tmp_path / "none.mp4", [0.0])


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6])
def test_truncated_file(video, tmp_path, kept):
    content = video[0].read_bytes()
    path = tmp_path / "short.mp4"
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DatasetError, match=r"short\.mp4 is (empty, and therefore )?damaged"):
        read_frames(path, [0.0])


def test_truncated_file_whose_index_comes_first(tmp_path):
    path = tmp_path / "short.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"g": "4", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes()[: int(0.8 * path.stat().st_size)])
    with pytest.raises(DatasetError, match=r"short\.mp4 is damaged; got: \d+ frames; allowed: 23"):
        read_frames(path, [0.0])


def test_file_without_a_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux([*stream.encode(silence), *stream.encode(None)])
    with pytest.raises(DatasetError, match="damaged"):
        read_frames(path, [0.0])


def test_frames_of_another_kind_are_refused():
    frames = [np.zeros((*SIZE, 3), np.uint8), np.zeros((*SIZE, 1), np.uint8)]
    with pytest.raises(InputError, match=r"frame 1 of 'top'; got: uint8 \[32, 48, 1\]"):
        encode_video(frames, fps=FPS, size=SIZE, settings=VideoSettings(), name="top")


@pytest.mark.parametrize("size", [(33, 48), (32, 47), (0, 48)])
def test_odd_sizes_are_refused(size):
    with pytest.raises(ConfigurationError, match="frame size of 'top'"):
        check_frame_size("top", size)


@pytest.mark.parametrize("wrong", [{"crf": 52}, {"keyframe_interval": 0}, {"codec": "libx265000"}])
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        VideoSettings(**wrong)


def test_the_same_frames_make_the_same_film_again_and_again():
    """Whatever memory the encoder is given: it is kept occupied in other places from film to film."""
    frames = [np.full((64, 96, 3), 40, np.uint8) for _ in range(14)]
    for number, frame in enumerate(frames):
        frame[number : number + 20, 10 + number : 40 + number] = (220, 120, 250)
        frame[40:60] = np.random.default_rng(number).integers(0, 255, (20, 96, 3))
    films, kept = set(), []
    for number in range(300):
        film = encode_video(frames, fps=50, size=(64, 96), settings=VideoSettings())
        films.add(film)
        kept = [*kept[-20:], bytearray(film)] if number % 3 == 0 else kept
    assert len(films) == 1
