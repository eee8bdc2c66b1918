"""Does imagining help?"""

from foreact.evaluation.suite import EvaluationConfig
from foreact.studies.catalogue.grid import IMAGINES, REACTS, TASKS, TWO_TASKS, in_simulation, recipe, small, trained
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim

OTHER_SEEDS, NUM_OTHER_SEEDS = 2_000_000, 150


def imagination() -> Study:
    """Does a policy that imagines before it acts succeed more often than one that reacts?

    Both are the same network, from the same demonstrations, at the same cost of training. Yes: on all tasks together
    it succeeds more often, by the interval of the paired difference on the same seeds. Whether the gap grows with the
    number of stages is judged between each longer task and the shortest.
    """
    cells = tuple(
        Cell(labels={"task": task, "policy": side}, policy=trained(recipe(side)), measure=in_simulation(task))
        for task in reversed(TASKS)
        for side in (IMAGINES, REACTS)
    )
    imagines, reacts = {"policy": IMAGINES}, {"policy": REACTS}
    shortest, *longer = TASKS
    return Study(
        name="imagination",
        question="Does a policy that imagines before it acts succeed more often than one that reacts, from the same "
        "demonstrations and at the same cost of training? Does it gain more where a task has more stages?",
        cells=cells,
        reference=reacts,
        claims=(
            Claim(name="imagining helps, all tasks together", first=imagines, second=reacts),
            *(
                Claim(name=f"imagining helps: {task}", first=imagines | {"task": task}, second=reacts | {"task": task})
                for task in TASKS
            ),
            *(
                Claim(
                    name=f"imagining helps more in {task} than in {shortest}",
                    first=imagines | {"task": task},
                    second=reacts | {"task": task},
                    beside=(imagines | {"task": shortest}, reacts | {"task": shortest}),
                )
                for task in longer
            ),
        ),
    )


def imagination_again() -> Study:
    """Does a policy that imagines succeed more often than one that reacts, on seeds that no other study has used?

    The networks of two tasks that the study demonstrations trains from 50 demonstrations, on three times as many seeds:
    its 50 cannot tell a difference of a few points. Yes: by the interval, on both tasks together.
    """
    cells = tuple(
        Cell(
            labels={"task": task, "policy": side},
            policy=trained(small(side), TWO_TASKS),
            measure=EvaluationConfig(task=task, num_episodes=NUM_OTHER_SEEDS, seed=OTHER_SEEDS),
        )
        for task in TWO_TASKS
        for side in (IMAGINES, REACTS)
    )
    imagines, reacts = {"policy": IMAGINES}, {"policy": REACTS}
    return Study(
        name="imagination-again",
        question="Does a policy that imagines succeed more often than one that reacts? Asked of the networks of two "
        "tasks, on 150 seeds that no other study has used.",
        cells=cells,
        reference=reacts,
        claims=(
            Claim(name="imagining helps, both tasks together", first=imagines, second=reacts),
            *(
                Claim(name=f"imagining helps: {task}", first=imagines | {"task": task}, second=reacts | {"task": task})
                for task in TWO_TASKS
            ),
            Claim(
                name="imagining helps more in transfer_cube than in lift_cube",
                first=imagines | {"task": "transfer_cube"},
                second=reacts | {"task": "transfer_cube"},
                beside=(imagines | {"task": "lift_cube"}, reacts | {"task": "lift_cube"}),
            ),
        ),
    )
