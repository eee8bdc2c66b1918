"""What does looking buy?"""

from foreact.studies.catalogue.grid import TASKS, in_simulation, recipe, trained
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim

CLOSED, OPEN = "closed", "open"


def drift_and_loop() -> Study:
    """Does a policy that looks after every chunk do better than one that believes what it imagined?

    The same network; in open loop it sees its first picture only, and every chunk rests on the imagined ones before.
    Yes: it succeeds more often, and what it imagines is nearer to what happens.
    """
    cells = tuple(
        Cell(
            labels={"task": task, "loop": loop},
            policy=trained(recipe()),
            measure=in_simulation(task, controller="synchronous" if loop == CLOSED else "open_loop"),
        )
        for task in reversed(TASKS)
        for loop in (CLOSED, OPEN)
    )
    closed, opened = {"loop": CLOSED}, {"loop": OPEN}
    return Study(
        name="drift-and-loop",
        question="Does a policy that looks after every chunk do better than one that believes what it imagined?",
        cells=cells,
        reference=closed,
        claims=(
            Claim(name="looking helps, all tasks together", first=closed, second=opened),
            *(
                Claim(name=f"looking helps: {task}", first=closed | {"task": task}, second=opened | {"task": task})
                for task in TASKS
            ),
            Claim(
                name="imagination drifts where nobody looks", first=opened, second=closed, figure="imagination_error"
            ),
        ),
    )
