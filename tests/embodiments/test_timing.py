import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreact.embodiments.timing import Timing
from foreact.errors import ConfigurationError, UnknownNameError

timings = st.builds(
    Timing,
    action_hz=st.floats(1, 500),
    camera_stride=st.integers(1, 8),
    vae_factor=st.integers(1, 8),
    latent_frames_per_chunk=st.integers(1, 8),
)


def test_the_default_counts():
    timing = Timing()
    assert (timing.camera_hz, timing.latent_hz) == (12.5, 3.125)
    assert timing.actions_per_latent_frame == 16
    assert timing.actions_per_chunk == 64
    assert timing.camera_frames_per_chunk == 16
    assert timing.chunk_s == 1.28


@pytest.mark.parametrize(("num_rows", "expected"), [(1, 1), (2, 2), (17, 2), (18, 3), (33, 3), (34, 4), (400, 26)])
def test_latent_frames_in_episode(num_rows, expected):
    assert Timing().latent_frames_in_episode(num_rows) == expected


@settings(deadline=None, max_examples=40)
@given(timing=timings, num_rows=st.integers(1, 2000))
def test_an_episode_is_covered_and_no_latent_frame_is_all_padding(timing, num_rows):
    num_latent_frames = timing.latent_frames_in_episode(num_rows)
    last_camera_row = timing.camera_rows(num_latent_frames)[-1]
    assert last_camera_row >= num_rows - 1
    assert last_camera_row - timing.actions_per_latent_frame < num_rows - 1 or num_latent_frames == 1


@settings(deadline=None, max_examples=40)
@given(timing=timings, num_latent_frames=st.integers(1, 50))
def test_camera_and_latent_counts_are_inverse(timing, num_latent_frames):
    num_camera_frames = timing.num_camera_frames(num_latent_frames)
    assert timing.num_latent_frames(num_camera_frames) == num_latent_frames
    assert len(timing.camera_rows(num_latent_frames)) == num_camera_frames


@settings(deadline=None, max_examples=40)
@given(timing=timings, num_latent_frames=st.integers(1, 20))
def test_action_rows_tile_the_rows_between_latent_frames(timing, num_latent_frames):
    """Each latent frame's actions end where its last camera frame is taken, and none is left out."""
    camera_rows = timing.camera_rows(num_latent_frames)
    tiled = [row for f in range(num_latent_frames) for row in timing.action_rows(f)]
    assert tiled == list(range(camera_rows[-1]))
    for latent_frame in range(1, num_latent_frames):
        assert timing.action_rows(latent_frame).stop == camera_rows[timing.vae_factor * latent_frame]


def test_rows_by_hand():
    timing = Timing()
    np.testing.assert_array_equal(timing.camera_rows(2), [0, 4, 8, 12, 16])
    assert timing.action_rows(0) == range(0)
    assert timing.action_rows(1) == range(0, 16)
    assert timing.action_rows(3) == range(32, 48)


@settings(deadline=None, max_examples=40)
@given(timing=timings)
def test_chunk_time_agrees_however_it_is_counted(timing):
    by_frames = Fraction(timing.camera_frames_per_chunk * timing.camera_stride) / Fraction(timing.action_hz)
    assert timing.chunk_s == pytest.approx(float(by_frames))
    assert timing.chunk_s == pytest.approx(timing.latent_frames_per_chunk / timing.latent_hz)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7])
def test_from_rates_finds_the_stride(stride):
    assert Timing.from_rates(50.0, 50.0 / stride).camera_stride == stride


def test_from_rates_names_the_rates_that_fit():
    with pytest.raises(ConfigurationError, match=r"got: 12 Hz.*nearest that fit: 12.5 Hz, 10 Hz"):
        Timing.from_rates(50.0, 12.0)


def test_from_rates_refuses_cameras_faster_than_actions():
    with pytest.raises(ConfigurationError, match="100 Hz"):
        Timing.from_rates(50.0, 100.0)


@pytest.mark.parametrize("rates", [(0.0, 1.0), (50.0, -1.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_from_rates_refuses_impossible_rates(rates):
    with pytest.raises(ConfigurationError, match="rates"):
        Timing.from_rates(*rates)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("action_hz", 0.0),
        ("action_hz", float("nan")),
        ("camera_stride", 0),
        ("vae_factor", -4),
        ("latent_frames_per_chunk", 0),
    ],
)
def test_impossible_settings_are_named(name, value):
    with pytest.raises(ConfigurationError, match=f"Timing.{name}"):
        Timing(**{name: value})


@pytest.mark.parametrize(("num_frames", "fitting"), [(0, "1"), (2, "1 or 5"), (12, "9 or 13")])
def test_camera_frames_that_do_not_fit(num_frames, fitting):
    with pytest.raises(ConfigurationError, match=f"got: {num_frames}.*use {fitting}"):
        Timing().num_latent_frames(num_frames)


def test_counts_below_the_first_are_refused():
    with pytest.raises(ConfigurationError, match="number of latent frames"):
        Timing().num_camera_frames(0)
    with pytest.raises(ConfigurationError, match="number of rows"):
        Timing().latent_frames_in_episode(0)
    with pytest.raises(ConfigurationError, match="latent frame"):
        Timing().action_rows(-1)


@pytest.mark.parametrize(("name", "value"), [("action_hz", "fast"), ("camera_stride", 1.5), ("vae_factor", True)])
def test_settings_of_another_type_are_named(name, value):
    with pytest.raises(ConfigurationError, match=f"setting {name} of timing"):
        Timing.from_dict({name: value})


@settings(deadline=None, max_examples=40)
@given(timing=timings)
def test_json_round_trip(timing):
    assert Timing.from_dict(json.loads(json.dumps(timing.to_dict()))) == timing


def test_unknown_key_is_refused_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match=r"camera_stride.*did you mean 'action_hz'"):
        Timing.from_dict({"action_hs": 50.0})
