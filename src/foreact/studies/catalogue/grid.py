"""What the studies have in common, so that they share trainings and evaluations: tasks, demonstrations, both sides."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from foreact.evaluation.demonstrations import CollectionConfig
from foreact.evaluation.suite import EvaluationConfig
from foreact.recipes import get_recipe
from foreact.recipes.tiny import REACTIVE_STEP_COST
from foreact.studies.demonstrations import Demonstrations
from foreact.studies.policies import TrainingRun
from foreact.training.recipe import Recipe

TASKS = ("reach_cube", "lift_cube", "transfer_cube", "remember_bin")
"""From one stage to five: reach; grasp and lift; hand over; remember, and put it into the bin."""
TWO_TASKS = ("lift_cube", "transfer_cube")
"""Where many networks are to be trained: an easy task and a hard one, short both."""
STEPS, TWO_TASKS_STEPS = 4000, 2000
"""Of a policy that imagines. Few enough that all studies together take less than 24 hours of one core."""
NUM_DEMONSTRATIONS = 50
NUM_HELD_OUT = 5
NUM_SEEDS = 50
IMAGINES, REACTS = "imagines", "reacts"
RECIPES = {IMAGINES: "tiny", REACTS: "tiny-reactive"}
STEP_COST = {IMAGINES: 1.0, REACTS: REACTIVE_STEP_COST}
"""Processor time of a training step; both sides are trained for as long."""

Side = Literal["imagines", "reacts"]


def expert(task: str) -> Demonstrations:
    """Return the demonstrations of a task: those trained on, and those held out."""
    return Demonstrations(config=CollectionConfig(task=task, num_episodes=NUM_DEMONSTRATIONS + NUM_HELD_OUT))


def recipe(side: Side = IMAGINES, *, num_steps: int = STEPS, num_demonstrations: int = NUM_DEMONSTRATIONS) -> Recipe:
    """Return the settings of one side; it gets as many steps as cost what `num_steps` of imagining do."""
    own = get_recipe(RECIPES[side])
    optimization = replace(own.optimization, num_steps=round(num_steps / STEP_COST[side]))
    return replace(own, optimization=optimization, num_held_out=NUM_HELD_OUT, num_episodes=num_demonstrations)


def trained(settings: Recipe, tasks: Sequence[str] = TASKS) -> TrainingRun:
    """Return the training of one network for all these tasks, told apart by their instructions."""
    return TrainingRun(recipe=settings, data=tuple(expert(task) for task in tasks))


def small(side: Side = IMAGINES, *, num_demonstrations: int = NUM_DEMONSTRATIONS) -> Recipe:
    """Return the settings of one side where two tasks are learned."""
    return recipe(side, num_steps=TWO_TASKS_STEPS, num_demonstrations=num_demonstrations)


def in_simulation(task: str, **settings) -> EvaluationConfig:
    """Return an evaluation on held-out seeds, the same ones in all studies."""
    return EvaluationConfig(task=task, num_episodes=NUM_SEEDS, **settings)
