"""A study in miniature: all that a study does, in a minute or two."""

from dataclasses import replace

from foreact.evaluation.demonstrations import CollectionConfig
from foreact.evaluation.suite import EvaluationConfig
from foreact.recipes import get_recipe
from foreact.studies.catalogue.grid import IMAGINES, REACTS, RECIPES
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim
from foreact.studies.demonstrations import Demonstrations
from foreact.studies.policies import TrainingRun

TASK = "reach_cube"


def quick() -> Study:
    """Does everything work here? Records three demonstrations, trains both sides for 4 steps, runs 2 episodes each.

    Nothing can be learned from so little: the claim is there to be left undecided.
    """
    data = (Demonstrations(config=CollectionConfig(task=TASK, num_episodes=3, image_size=64)),)
    cells = tuple(
        Cell(
            labels={"task": TASK, "policy": side},
            policy=TrainingRun(recipe=_recipe(RECIPES[side]), data=data),
            measure=EvaluationConfig(task=TASK, num_episodes=2, patience=0.5),
        )
        for side in (IMAGINES, REACTS)
    )
    return Study(
        name="quick",
        question="Does everything work here? Two policies of four training steps each, which can do nothing.",
        cells=cells,
        reference={"policy": REACTS},
        claims=(Claim(name="imagining helps", first={"policy": IMAGINES}, second={"policy": REACTS}),),
    )


def _recipe(name: str):
    recipe = get_recipe(name)
    return replace(
        recipe,
        batch=replace(recipe.batch, global_batch=2, micro_batch=2, max_frames=12),
        optimization=replace(recipe.optimization, num_steps=4, warmup_steps=1),
        num_held_out=1,
        save_every=2,
    )
