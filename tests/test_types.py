import numpy as np
import pytest

from foreact.errors import InputError
from foreact.types import ActionChunk, Observation

PICTURE = np.zeros((4, 6, 3), np.uint8)
STATE = np.zeros(3, np.float32)


def test_a_good_observation() -> None:
    observation = Observation(images={"top": PICTURE}, state=STATE, time_s=0.5)
    assert observation.time_s == 0.5


@pytest.mark.parametrize(
    "picture", [PICTURE.astype(np.float32), PICTURE[..., 0], PICTURE[..., :2], PICTURE[None], PICTURE * np.nan]
)
def test_other_pictures_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"wrist.*uint8"):
        Observation(images={"top": PICTURE, "wrist": picture}, state=STATE, time_s=0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_states_are_finite(bad: float) -> None:
    with pytest.raises(InputError, match=r"observation\.state"):
        Observation(images={}, state=np.array([0, bad, 1], np.float32), time_s=0.0)


def test_chunks_do_not_share_their_stages() -> None:
    chunks = [ActionChunk(actions=np.zeros((2, 3), np.float32)) for _ in range(2)]
    assert chunks[0].stage_ms == {} and chunks[0].stage_ms is not chunks[1].stage_ms
    assert chunks[0].imagined_latents is None
