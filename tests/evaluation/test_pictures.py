from dataclasses import replace

import av
import numpy as np
import pytest

from foreact.control.latency import constant
from foreact.evaluation.episodes import evaluate_episode
from foreact.evaluation.pictures import WAITING, compose_frames, write_comparison


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny.policy()


def waits(frame: np.ndarray) -> bool:
    """Whether the picture is framed in the colour of waiting."""
    return bool((frame[28, 1] == WAITING).all())


def test_a_film_lasts_as_long_as_the_episode(policy, toy_env) -> None:
    """20 steps: 4 of waiting, 8 actions, 4 of waiting, 4 actions; a camera frame is 2 actions."""
    _, record = evaluate_episode(policy, toy_env(), 5, latencies_s=constant(4 / 50))
    assert record.picture_steps == [0, 6, 8, 10, 12, 18, 20]
    frames = list(compose_frames(policy, record, "an episode"))
    assert [waits(frame) for frame in frames] == [False, True, True, *4 * [False], True, True, False, False]
    assert len(frames) == 1 + 20 // 2


def test_a_robot_that_never_waits_has_a_film_without_waiting(policy, toy_env) -> None:
    _, record = evaluate_episode(policy, toy_env(), 5)
    frames = list(compose_frames(policy, record, "an episode"))
    assert len(frames) == len(record.pictures) and not any(waits(frame) for frame in frames)


def test_an_episode_that_ends_before_the_next_picture_does_not_end_in_waiting(policy, toy_env) -> None:
    _, whole = evaluate_episode(policy, toy_env(), 5)
    record = replace(whole, pictures=whole.pictures[:-1], picture_steps=whole.picture_steps[:-1])
    frames = list(compose_frames(policy, record, "an episode"))
    assert len(record.commands) == record.picture_steps[-1] + 2, "a picture was due as it ended"
    assert len(frames) == len(record.pictures) and not any(waits(frame) for frame in frames)


def test_compared_episodes_are_below_each_other_and_the_shorter_one_stays(policy, toy_env, tmp_path) -> None:
    fast = evaluate_episode(policy, toy_env(), 4)[1]
    slow = evaluate_episode(policy, toy_env(), 5, latencies_s=constant(4 / 50))[1]
    films = [list(compose_frames(policy, record, "x")) for record in (fast, slow)]
    assert [len(film) for film in films] == [7, 11]
    write_comparison(tmp_path / "both.mp4", policy, [(fast, "x"), (slow, "x")])
    with av.open(str(tmp_path / "both.mp4")) as film:
        pages = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    height = films[0][0].shape[0]
    assert len(pages) == 11 and pages[0].shape[0] == 2 * height
    for number, page in enumerate(pages):
        for shown, wanted in ((page[:height], films[0][min(number, 6)]), (page[height:], films[1][number])):
            assert np.abs(shown.astype(float) - wanted).mean() < 6
