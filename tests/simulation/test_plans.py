"""Which plan belongs to which task."""

import pytest

from foreact.errors import UnknownNameError
from foreact.simulation.plans import PLANS, get_plan
from foreact.simulation.tasks import TASKS


def test_every_task_has_a_plan():
    assert set(PLANS) == set(TASKS)
    assert all(get_plan(task) is PLANS[task] for task in TASKS)


def test_a_task_without_a_plan_is_named():
    with pytest.raises(UnknownNameError, match="'fold_shirt'"):
        get_plan("fold_shirt")
