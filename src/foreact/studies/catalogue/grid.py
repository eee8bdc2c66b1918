"""What the studies have in common, so that they share trainings and evaluations: tasks, demonstrations, both sides."""

from dataclasses import replace
from typing import Literal

from foreact.evaluation.demonstrations import CollectionConfig
from foreact.evaluation.suite import EvaluationConfig
from foreact.recipes import get_recipe
from foreact.studies.demonstrations import Demonstrations
from foreact.studies.policies import TrainingRun
from foreact.training.run import Recipe

TASKS = ("reach_cube", "lift_cube", "transfer_cube", "remember_bin")
"""From one stage to five: reach; grasp and lift; hand over; remember, and put it into the bin."""
NUM_DEMONSTRATIONS = 50
NUM_HELD_OUT = 5
NUM_SEEDS = 50
IMAGINES, REACTS = "imagines", "reacts"
RECIPES = {IMAGINES: "tiny", REACTS: "tiny-reactive"}
"""As many steps each as cost the same; see the recipes."""

Side = Literal["imagines", "reacts"]


def expert(task: str) -> Demonstrations:
    """Return the demonstrations of a task: those trained on, and those held out."""
    return Demonstrations(config=CollectionConfig(task=task, num_episodes=NUM_DEMONSTRATIONS + NUM_HELD_OUT))


def recipe(side: Side = IMAGINES, num_demonstrations: int = NUM_DEMONSTRATIONS) -> Recipe:
    """Return the settings of one side."""
    return replace(get_recipe(RECIPES[side]), num_held_out=NUM_HELD_OUT, num_episodes=num_demonstrations)


def trained(settings: Recipe) -> TrainingRun:
    """Return the training of one network for all tasks, told apart by their instructions."""
    return TrainingRun(recipe=settings, data=tuple(expert(task) for task in TASKS))


def in_simulation(task: str, **settings) -> EvaluationConfig:
    """Return an evaluation on held-out seeds, the same ones in all studies."""
    return EvaluationConfig(task=task, num_episodes=NUM_SEEDS, **settings)
