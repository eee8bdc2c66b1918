import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.errors import ConfigurationError, UnknownNameError
from foreact.policy.inference import InferenceConfig
from foreact.policy.policy import Policy
from foreact.policy.schedules import SCHEDULES, Schedule, apply_schedule, describe_steps, get_schedule
from foreact.policy.storage.published import published_settings
from foreact.policy.trained import TrainedFor

STATE = np.array([0.1, -0.2, 0.5], np.float32)
RELEASED = {"lingbot-va-posttrain-libero-long": 20, "lingbot-va-posttrain-robotwin": 25}
TOUCHED = {"video_steps", "video_steps_executed", "s_stop", "action_steps", "video_guidance"}


@pytest.fixture(scope="module")
def networks(tiny):
    return tiny.networks()


def chunk_of(policy: Policy, tiny) -> list[np.ndarray]:
    session = policy.start("push", seed=5)
    policy.observe_first(session, tiny.images(1), STATE)
    chunk = policy.predict(session)
    assert chunk.imagined_latents is not None
    return [chunk.actions, chunk.imagined_latents]


@pytest.mark.parametrize(
    ("name", "work"), [("exact", (25, 1.0, 50, 5.0)), ("fast", (3, 0.6, 10, 1.0)), ("turbo", (2, 0.6, 4, 1.0))]
)
def test_what_the_names_mean(tiny, networks, name: str, work: tuple) -> None:
    policy = tiny.policy(networks=networks, video_shift=2.0, s_stop=0.9)
    config = apply_schedule(policy, name).config
    assert (config.video_steps, config.s_stop, config.action_steps, config.video_guidance) == work
    assert policy.config == tiny.inference(video_shift=2.0, s_stop=0.9), "the policy itself stays"


def test_a_named_schedule_computes_what_its_settings_compute(tiny, networks, one_thread) -> None:
    named = chunk_of(apply_schedule(tiny.policy(networks=networks), "fast"), tiny)
    stored = chunk_of(tiny.policy(networks=networks, video_steps=3, s_stop=0.6, action_steps=10), tiny)
    own = chunk_of(apply_schedule(tiny.policy(networks=networks), None), tiny)
    assert all(np.array_equal(mine, oracle) for mine, oracle in zip(named, stored, strict=True))
    assert not np.allclose(named[0], own[0])


def test_no_name_leaves_the_policys_own(tiny, networks) -> None:
    policy = tiny.policy(networks=networks, video_guidance=3.0)
    assert apply_schedule(policy, None).config == policy.config
    assert apply_schedule(policy, None, window=5).config == dataclasses.replace(policy.config, window=5)


@pytest.mark.parametrize(("name", "steps"), [("one", (1, 1)), ("two", (2, 1))])
def test_one_and_two_steps_are_for_policies_that_were_distilled(tiny, networks, name: str, steps: tuple) -> None:
    distilled = tiny.policy(networks=networks, few_steps=True, s_stop=0.7, action_steps=5)
    config = apply_schedule(distilled, name).config
    assert (config.video_steps, config.action_steps, config.s_stop) == (*steps, 0.7)
    with pytest.raises(ConfigurationError, match=r"not distilled.*foreact distill"):
        apply_schedule(tiny.policy(networks=networks, video_steps=5, action_steps=10), name)


def test_a_policy_whose_own_steps_are_as_few_may_name_them(tiny, networks) -> None:
    policy = tiny.policy(networks=networks, video_steps=2, action_steps=1)
    assert apply_schedule(policy, "two").config == policy.config


def test_networks_are_shared(tiny, networks) -> None:
    assert apply_schedule(tiny.policy(networks=networks), "turbo").networks is networks


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    scales=st.tuples(st.floats(0.1, 8), st.floats(0.1, 8), st.floats(0.05, 1), st.floats(1, 9)),
    window=st.integers(1, 99),
)
def test_only_steps_stop_and_guidance_change(name: str, steps: tuple, scales: tuple, window: int) -> None:
    own = InferenceConfig(
        video_steps=steps[0],
        action_steps=steps[1],
        s_stop=scales[2],
        video_guidance=scales[3],
        window=window,
        trained=TrainedFor(video_shift=scales[0], action_shift=scales[1], few_steps=True),
    )
    config = dataclasses.replace(own, **SCHEDULES[name].changes(own))
    differing = {f.name for f in dataclasses.fields(own) if getattr(own, f.name) != getattr(config, f.name)}
    assert differing <= TOUCHED
    times = config.video_times
    assert times[0] == 0 and times[-1] == pytest.approx(config.s_stop) and times == sorted(times)
    assert len(times) == config.video_steps + 1
    assert config.video_guidance == (5.0 if name == "exact" else own.video_guidance)


def test_few_steps_are_spaced_anew_and_not_cut_off() -> None:
    """Of 25 shifted steps the first three would end near noise."""
    own = published_settings("lingbot-va-posttrain-robotwin")[1]
    config = dataclasses.replace(own, **SCHEDULES["fast"].changes(own))
    assert config.video_times == pytest.approx([0, 0.6 / 11, 0.6 * 2 / 7, 0.6])
    assert own.video_times[3] < 0.03


def test_changes_beside_the_name_win(tiny, networks) -> None:
    policy = tiny.policy(networks=networks)
    assert apply_schedule(policy, "exact", video_guidance=1.0).config.video_guidance == 1
    config = apply_schedule(policy, "fast", video_guidance=2.0, action_steps=7, window=3).config
    assert (config.video_guidance, config.action_steps, config.window, config.video_steps) == (2, 7, 3, 3)


def test_fast_and_turbo_leave_the_guidance_a_policy_needs(tiny, networks) -> None:
    guided = tiny.policy(networks=networks, video_guidance=4.0)
    assert [apply_schedule(guided, name).config.video_guidance for name in ("fast", "turbo")] == [4, 4]


@pytest.mark.parametrize(("released", "video_steps"), RELEASED.items())
def test_exact_is_what_the_published_policies_were_published_with(released: str, video_steps: int) -> None:
    own = published_settings(released)[1]
    assert (own.video_steps, own.action_steps, own.video_guidance, own.s_stop) == (video_steps, 50, 5, 1)
    assert SCHEDULES["exact"].changes(own) == {}
    fast = dataclasses.replace(own, **SCHEDULES["fast"].changes(own))
    assert (fast.video_steps, fast.s_stop, fast.action_steps, fast.video_guidance) == (3, 0.6, 10, 5)


def test_a_policy_that_broke_off_its_video_steps_is_spaced_anew(tiny, networks) -> None:
    policy = tiny.policy(networks=networks, video_steps=25, video_steps_executed=3)
    config = apply_schedule(policy, "turbo").config
    assert config.video_steps_executed is None and len(config.video_times) == 3


def test_of_a_policy_that_imagines_nothing_only_the_action_steps_change(tiny, networks) -> None:
    policy = tiny.policy(networks=networks, imagines=False, few_steps=True)
    for name, schedule in SCHEDULES.items():
        wanted = dataclasses.replace(policy.config, action_steps=schedule.action_steps)
        assert apply_schedule(policy, name).config == wanted


def test_an_unknown_name_is_refused_and_the_known_ones_listed(tiny, networks) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown schedule.*exact, fast, one, turbo, two.*did you mean 'turbo'"):
        apply_schedule(tiny.policy(networks=networks), "turbos")
    with pytest.raises(UnknownNameError, match="exact, fast, one, turbo, two"):
        get_schedule("")


def test_changes_that_contradict_the_schedule_are_refused(tiny, networks) -> None:
    with pytest.raises(ConfigurationError, match="0 steps exactly when s_stop is 0"):
        apply_schedule(tiny.policy(networks=networks), "fast", video_steps=0)


@pytest.mark.parametrize("wrong", [{"video_steps": 0}, {"s_stop": 1.5}, {"action_steps": 0}])
def test_impossible_schedules_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigurationError):
        Schedule(**({"video_steps": 3, "s_stop": 0.5, "action_steps": 4} | wrong))


def test_steps_in_words(tiny) -> None:
    fast = tiny.inference(video_steps=3, s_stop=0.6, action_steps=10, video_guidance=2.5)
    assert describe_steps(fast) == "3 video steps to s = 0.6, guidance 2.5; 10 action steps"
    assert describe_steps(tiny.inference(imagines=False, action_steps=4)) == "4 action steps"
    broken_off = tiny.inference(video_steps=4, video_steps_executed=2)
    assert describe_steps(broken_off).startswith("2 video steps to s = 0.25")
