"""Does imagining help?"""

from foreact.studies.catalogue.grid import IMAGINES, REACTS, TASKS, in_simulation, recipe, trained
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim


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
