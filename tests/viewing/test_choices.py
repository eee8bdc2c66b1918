import pytest

from foreact.errors import ConfigurationError, UnknownNameError
from foreact.simulation.tasks import TASKS
from foreact.viewing.choices import PlayChoices, changed_names, possible_controllers, possible_tasks


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "lift_cub"}, "did you mean 'lift_cube'"),
        ({"disturbance": "nudges"}, "did you mean 'nudge'"),
        ({"seed": -1}, "seed; got: -1"),
    ],
)
def test_what_cannot_be_is_refused(settings, said) -> None:
    with pytest.raises((ConfigurationError, UnknownNameError), match=said):
        PlayChoices(**settings)


def test_the_chosen_steps_are_the_policys(tiny) -> None:
    policy = tiny.policy()
    changed = PlayChoices(video_steps=1, action_steps=2, s_stop=0.5).applied_to(policy)
    assert (changed.config.video_steps, changed.config.action_steps, changed.config.s_stop) == (1, 2, 0.5)
    assert PlayChoices().applied_to(policy).config == policy.config


def test_a_policy_that_does_not_imagine_keeps_its_video_settings(tiny) -> None:
    policy = tiny.policy(imagines=False)
    changed = PlayChoices(video_steps=1, action_steps=2).applied_to(policy)
    assert changed.config.video_steps == policy.config.video_steps and changed.config.action_steps == 2


def test_controllers_are_those_that_the_policy_was_trained_for(tiny) -> None:
    assert possible_controllers(tiny.policy(imagines=False)) == ("synchronous",)
    assert "grounded" in possible_controllers(tiny.policy(forward_dynamics=True))
    with pytest.raises(ConfigurationError, match="policy under grounded control"):
        PlayChoices(controller="grounded").applied_to(tiny.policy())


def test_tasks_are_those_whose_instruction_the_policy_knows(tiny) -> None:
    policy = tiny.policy()
    assert possible_tasks(policy) == tuple(TASKS)
    policy.instructions = (TASKS["lift_cube"].instruction,)
    assert possible_tasks(policy) == ("lift_cube",)


def test_changes_are_named() -> None:
    assert changed_names(PlayChoices(), PlayChoices(seed=3, task="reach_cube")) == ("task", "seed")
