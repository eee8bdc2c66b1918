import numpy as np
import pytest

from foreact.data.lerobot_info import camera_sizes, checked_columns, new_info
from foreact.data.video import VideoSettings
from foreact.errors import ConfigurationError, InputError

CAMERA = {"observation.images.top": (16, 24)}


def info(**changes):
    settings = {"fps": 50, "robot_type": "toy", "features": {"action": ["a", "b"]}, "cameras": CAMERA}
    return new_info(**(settings | changes), video=VideoSettings())


def test_an_empty_dataset_counts_nothing():
    empty = info()
    assert [empty[f"total_{name}"] for name in ("episodes", "frames", "tasks")] == [0, 0, 0]
    assert camera_sizes(empty) == CAMERA
    assert empty["features"]["observation.images.top"]["info"]["video.codec"] == "h264"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fps": 0}, "fps; got: 0"),
        ({"features": {"action/left": ["a"]}}, "'action/left'"),
        ({"features": {"timestamp": ["a"]}}, "'timestamp'"),
        ({"features": {"action": []}}, "one entry or more"),
        ({"features": {"observation.images.top": ["a"]}}, "used once"),
        ({"cameras": {"top": (15, 24)}}, "even height and width"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        info(**changes)


def test_an_episode_has_rows():
    with pytest.raises(InputError, match=r"'action'; got: \(0, 2\); allowed: \(1, 2\)"):
        checked_columns(info(), {"action": np.zeros((0, 2))})
