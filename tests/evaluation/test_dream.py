"""What is imagined from one picture, chunk upon chunk."""

import dataclasses

import numpy as np
import pytest
import torch

from foreact.errors import ConfigurationError, InputError
from foreact.evaluation.dream import Dream, DreamConfig, check_imagines, dream
from foreact.policy.policy import Policy
from foreact.policy.viewer import LatentViewer

STATE = np.array([0.1, -0.2, 0.5], np.float32)
CONFIG = DreamConfig(instruction="push it", num_chunks=3, seed=4)


@pytest.fixture
def policy(tiny) -> Policy:
    return tiny.policy()


@pytest.fixture
def dreamed(tiny, policy: Policy) -> Dream:
    return dream(policy, CONFIG, tiny.images(1), STATE)


def test_a_dream_is_an_open_loop_of_the_policy(tiny, policy: Policy, dreamed: Dream) -> None:
    session = policy.start("push it", seed=4)
    policy.observe_first(session, tiny.images(1), STATE)
    latents, actions = [session.observed], []
    for _ in range(3):
        chunk = policy.predict(session)
        policy.accept_imagined(session)
        latents.append(torch.from_numpy(chunk.imagined_latents))
        actions.append(chunk.actions)
    np.testing.assert_allclose(dreamed.actions, np.concatenate(actions), atol=1e-5)
    whole = LatentViewer(policy.networks.vae, policy.embodiment.layout).show(torch.cat(latents, dim=1))
    for camera in ("top", "wrist"):
        seen = np.stack([images[camera] for _, images in dreamed.pictures[1:]]).astype(int)
        assert np.abs(seen - whole[camera][1:].astype(int)).max() <= 1


def test_the_first_pictures_are_the_given_ones(tiny, policy: Policy) -> None:
    images = {camera: np.repeat(clip, 3, axis=2) for camera, clip in tiny.images(1).items()}
    dreamed = dream(policy, CONFIG, images | {"other": images["top"]}, STATE)
    chunk, first = dreamed.pictures[0]
    assert chunk == -1 and set(first) == {"top", "wrist"}
    assert np.array_equal(first["wrist"], images["wrist"][0])


def test_pictures_tell_their_chunk(tiny, dreamed: Dream) -> None:
    frames = tiny.chunk * 2
    assert [chunk for chunk, _ in dreamed.pictures] == [-1, *(n for n in range(3) for _ in range(frames))]


def test_the_seed_decides_the_future(tiny, policy: Policy, dreamed: Dream) -> None:
    again = dream(policy, CONFIG, tiny.images(1), STATE)
    other = dream(policy, dataclasses.replace(CONFIG, seed=5), tiny.images(1), STATE)
    np.testing.assert_allclose(again.actions, dreamed.actions, atol=1e-6)
    assert np.abs(other.actions - dreamed.actions).max() > 1e-3


def test_each_chunk_is_told_with_what_it_cost(tiny, policy: Policy) -> None:
    stored = []
    dreamed = dream(policy, CONFIG, tiny.images(1), STATE, on_chunk=stored.append)
    assert stored == list(dreamed.chunks)
    assert [set(chunk.stage_ms) for chunk in stored] == [
        {"encode", "append", "imagine", "decode_actions", "decode_video"},
        *[{"append", "imagine", "decode_actions", "decode_video"}] * 2,
    ]


def test_a_first_chunk_may_be_shorter(tiny) -> None:
    """The first frame stands in the first chunk, which then holds one latent frame less of the future."""
    dreamed = dream(tiny.policy(first_frame="chunk"), CONFIG, tiny.images(1), STATE)
    assert [len(chunk.actions) for chunk in dreamed.chunks] == [4, 8, 8]
    assert [len(chunk.frames["top"]) for chunk in dreamed.chunks] == [2, 4, 4]
    assert len(dreamed.pictures) == 11 and len(dreamed.actions) == 20


def test_a_policy_that_does_not_imagine_is_refused_and_one_that_does_named(tiny) -> None:
    reactive = tiny.policy(imagines=False)
    shipped = "tiny, tiny-disturbed, tiny-metaworld"
    with pytest.raises(ConfigurationError, match=f"imagines nothing; allowed: one that imagines, such as {shipped}$"):
        dream(reactive, CONFIG, tiny.images(1), STATE)
    with pytest.raises(ConfigurationError):
        check_imagines(reactive)


@pytest.mark.parametrize("number", [0, -2])
def test_no_chunk_is_refused(number: int) -> None:
    with pytest.raises(ConfigurationError, match=f"got: {number}; allowed: 1 or more"):
        DreamConfig(instruction="", num_chunks=number)


def test_a_camera_without_a_picture_is_refused(tiny, policy: Policy) -> None:
    with pytest.raises(InputError, match="wrist"):
        dream(policy, CONFIG, {"top": tiny.images(1)["top"]}, STATE)
