"""The settings that ship for published weights: they build, and they are the robots that ship."""

import json
from importlib.resources import files

import numpy as np
import pytest

from foreact.embodiments import ActionCodec, load_embodiment
from foreact.policy.inference import inference_from_plain

ROBOTS = {"lingbot-va-posttrain-libero-long": "libero_published", "lingbot-va-posttrain-robotwin": "robotwin_aloha"}
FOLDER = files("foreact.policy.storage") / "published_settings"


def read(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ROBOTS)
def test_settings_build_a_codec_of_a_shipped_robot(name):
    tree = read(name)
    codec = ActionCodec.from_dict(tree["actions"])
    assert codec.embodiment == load_embodiment(ROBOTS[name])
    assert codec.normalizer.epsilon == 1e-6
    assert codec.to_dict() == tree["actions"]
    assert "github.com/Robbyant/lingbot-va" in tree["source"]


@pytest.mark.parametrize("name", ROBOTS)
def test_settings_build_an_inference_configuration(name):
    tree = read(name)
    config = inference_from_plain(tree["inference"])
    timing = tree["actions"]["embodiment"]["timing"]
    assert config.latent_frames_per_chunk == timing["latent_frames_per_chunk"]
    assert (config.trained.first_frame, config.trained.imagines, config.s_stop, config.rows) == ("chunk", True, 1.0, 2)
    assert config.window % config.latent_frames_per_chunk == 0


def test_libero_is_the_revision_that_its_weights_need():
    """Before its weights came out the gripper was in channel 28 and the actions' shift was 1."""
    tree = read("lingbot-va-posttrain-libero-long")
    normalizer = ActionCodec.from_dict(tree["actions"]).normalizer
    np.testing.assert_array_equal(np.flatnonzero(normalizer.mask), range(7))
    assert (normalizer.q01[6], normalizer.q99[6]) == (-1, 1)
    assert (tree["inference"]["action_shift"], tree["inference"]["window"]) == (0.05, 60)


def test_robotwin_turns_and_openings_are_normalised_by_their_full_range():
    codec = ActionCodec.from_dict(read("lingbot-va-posttrain-robotwin")["actions"])
    first = np.zeros(16)
    first[[6, 14]] = 1.0
    still = first.copy()
    still[[7, 15]] = 0.5
    encoded = codec.encode(still[None], first)[0]
    np.testing.assert_allclose(encoded[[3, 4, 5, 6, 10, 11, 12, 13]], [0, 0, 0, 1, 0, 0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(encoded[[28, 29]], 0, atol=1e-6)


def test_the_base_weights_have_no_robot():
    tree = read("lingbot-va-base")
    assert tree["actions"] is None and tree["inference"] is None
