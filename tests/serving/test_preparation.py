"""A policy is loaded, has room, and is warm before any robot asks."""

from pathlib import Path

import pytest

from foreact.errors import UnknownNameError
from foreact.policy.policy import Policy
from foreact.policy.storage.checkpoint import save_policy
from foreact.serving.preparation import prepare, warm_up


def test_a_policy_is_made_ready(tiny, tmp_path: Path, monkeypatch) -> None:
    asked, observe = [], Policy.observe_first
    monkeypatch.setattr(Policy, "observe_first", lambda *given: asked.append(observe(*given)))
    save_policy(tiny.policy(), tmp_path, provenance={})
    policy = prepare(str(tmp_path), schedule="turbo", device="cpu")
    assert policy.config.asynchronous  # room for actions under way
    assert (policy.config.video_steps, policy.config.action_steps) == (2, 4)
    assert len(asked) == 1


def test_an_unknown_schedule_is_told_before_anything_is_loaded() -> None:
    with pytest.raises(UnknownNameError, match="fast, one, turbo, two"):
        prepare("no such policy", schedule="hasty", device="cpu")


def test_a_robot_for_which_zeros_are_no_state_is_no_failure(tiny, monkeypatch) -> None:
    monkeypatch.setattr(Policy, "observe_first", lambda *_: 1 / 0)
    warm_up(tiny.policy())
