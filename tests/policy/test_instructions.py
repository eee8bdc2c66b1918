"""A policy knows what it was trained on, keeps it on disk, and says when something else is asked."""

import json
import warnings

import pytest

from foreact.errors import CheckpointError
from foreact.policy.instructions import MOST_KEPT, UnknownInstructionWarning, kept, unknown_instruction
from foreact.policy.loading import load
from foreact.policy.policy import Policy
from foreact.policy.storage.checkpoint import save_policy

KNOWN = ("Push the cube.", "Pull the cube.")


def knowing(tiny, instructions: tuple[str, ...] = KNOWN) -> Policy:
    plain = tiny.policy()
    return Policy(plain.networks, plain.codec, plain.config, instructions=instructions)


def test_different_instructions_are_kept_in_order_unless_they_are_too_many() -> None:
    assert kept(["b", "a", "b"]) == ("b", "a")
    many = [str(number) for number in range(MOST_KEPT)]
    assert len(kept(many)) == MOST_KEPT and kept([*many, "one more"]) == ()


def test_an_unknown_instruction_is_said_with_the_nearest_that_is_known(tiny) -> None:
    policy = knowing(tiny)
    with pytest.warns(UnknownInstructionWarning, match=r"'push the cubes'.*Did you mean 'Push the cube\.'\?"):
        policy.start("push the cubes")


def test_it_is_said_once_a_policy(tiny) -> None:
    policy = knowing(tiny)
    with pytest.warns(UnknownInstructionWarning) as said:
        for number in range(3):
            policy.start(f"sentence {number}")
    assert len(said) == 1


@pytest.mark.parametrize("instructions", [KNOWN, ()])
def test_nothing_is_said_of_a_known_instruction_or_where_none_are_kept(tiny, instructions: tuple[str, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        knowing(tiny, instructions).start("Push the cube.")
        knowing(tiny, ()).start("anything")


def test_messages_are_short_however_long_the_sentences() -> None:
    message = unknown_instruction("x " * 100_000, ("y " * 1000,) * 3)
    assert message is not None and len(message) < 1000


def test_they_are_saved_and_loaded_and_stay_under_other_settings(tiny, tmp_path) -> None:
    save_policy(knowing(tiny), tmp_path, provenance={})
    policy = load(tmp_path)
    assert policy.instructions == KNOWN
    assert policy.with_config(tiny.inference(video_steps=1)).instructions == KNOWN


def test_a_policy_saved_before_they_were_kept_lists_none(tiny, tmp_path) -> None:
    save_policy(knowing(tiny), tmp_path, provenance={})
    config = json.loads((tmp_path / "config.json").read_text())
    del config["instructions"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load(tmp_path).instructions == ()


def test_damaged_ones_are_refused(tiny, tmp_path) -> None:
    save_policy(knowing(tiny), tmp_path, provenance={})
    config = json.loads((tmp_path / "config.json").read_text()) | {"instructions": [1]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="instructions"):
        load(tmp_path)


def test_the_shipped_policies_know_their_tasks() -> None:
    from foreact.simulation.tasks import get_task

    for name, tasks in (
        ("tiny", ("reach_cube", "lift_cube", "transfer_cube")),
        ("tiny-reactive", ("reach_cube", "lift_cube")),
    ):
        assert load(name).instructions == tuple(get_task(task).instruction for task in tasks)
