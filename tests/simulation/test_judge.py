"""Scoring an episode, with conditions that say what the test says."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from foreact.simulation.judge import Judge
from foreact.simulation.stages import Stage
from foreact.simulation.tasks import Task
from foreact.simulation.world import World


@cache
def any_world() -> World:
    """A world nobody looks at."""
    return World(num_cubes=1)


def judged(script: list[tuple[bool, bool]], num_steps: int = 2) -> Judge:
    """A judge who saw the script: at each step, whether the first stage holds and whether the second does."""
    now = iter(script)
    current = {}

    def first(world, bins):
        current["row"] = next(now)
        return current["row"][0]

    plan = (
        Stage(name="first", condition=first),
        Stage(name="second", condition=lambda world, bins: current["row"][1], num_steps=num_steps),
    )
    judge = Judge(Task(name="t", instruction="", max_steps=9, plan=plan))
    for _ in script:
        judge.watch(any_world(), ())
    return judge


def test_a_stage_reached_counts_for_good():
    judge = judged([(True, False), (False, False)])
    assert (judge.num_done, judge.stage, judge.success) == (1, "second", False)


def test_a_hold_that_is_interrupted_does_not_count():
    assert not judged([(True, True), (True, False), (True, True)]).success
    assert judged([(True, True), (True, True)]).success


def test_success_is_the_last_stage_and_completes_all():
    judge = judged([(False, True), (False, True)])
    assert (judge.success, judge.num_done, judge.stage) == (True, 2, "done")


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12), st.integers(1, 4))
def test_success_is_a_run_of_the_required_length(script, num_steps):
    run = "".join("x" if second else " " for _, second in script)
    assert judged(script, num_steps).success == ("x" * num_steps in run)


def test_after_a_mistake_an_episode_cannot_succeed_any_more():
    holds = {"right": False, "wrong": False}
    plan = (Stage(name="any", condition=lambda w, b: True), Stage(name="right", condition=lambda w, b: holds["right"]))
    mistake = Stage(name="wrong", condition=lambda w, b: holds["wrong"], num_steps=2)
    judge = Judge(Task(name="t", instruction="", max_steps=9, plan=plan, mistake=mistake))
    for holds["wrong"] in (True, False, True, True):
        judge.watch(any_world(), ())
    holds["right"] = True
    judge.watch(any_world(), ())
    assert (judge.success, judge.num_done, judge.stage) == (False, 1, "wrong")


def test_what_happens_after_success_is_no_mistake():
    holds = {"right": True, "wrong": False}
    plan = (Stage(name="right", condition=lambda w, b: holds["right"]),)
    mistake = Stage(name="wrong", condition=lambda w, b: holds["wrong"])
    judge = Judge(Task(name="t", instruction="", max_steps=9, plan=plan, mistake=mistake))
    judge.watch(any_world(), ())
    holds["wrong"] = True
    judge.watch(any_world(), ())
    assert judge.success and judge.stage == "done"
