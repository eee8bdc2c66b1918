"""The list of tasks."""

import gymnasium
import pytest

import foreact.simulation  # noqa: F401  (registers)
from foreact.errors import ConfigurationError, UnknownNameError
from foreact.simulation.stages import held
from foreact.simulation.tasks import TASKS, Stage, Task, get_task


def test_names_are_the_promised_ones():
    names = ["reach_cube", "lift_cube", "transfer_cube", "point_at_bin", "remember_bin", "remember_bin_two"]
    assert list(TASKS) == names
    assert all(get_task(name).name == name for name in TASKS)


def test_an_unknown_task_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match=r"'lift_cub'.*reach_cube.*did you mean 'lift_cube'"):
        get_task("lift_cub")


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_stages_have_different_names_and_gymnasium_knows_the_task(task):
    assert len(set(task.stages)) == len(task.stages) >= 2
    assert gymnasium.spec(task.gymnasium_id).kwargs == {"task": task.name}


def test_instructions_do_not_tell_what_is_to_be_remembered():
    for name in ("point_at_bin", "remember_bin", "remember_bin_two"):
        assert not any(colour in TASKS[name].instruction for colour in ("red", "green", "blue"))


def test_impossible_tasks_are_refused():
    stage = Stage(name="grasp", condition=held("right"))
    with pytest.raises(ConfigurationError, match="max_steps"):
        Task(name="t", instruction="", max_steps=0, plan=(stage,))
    with pytest.raises(ConfigurationError, match="no stage"):
        Task(name="t", instruction="", max_steps=1, plan=())
