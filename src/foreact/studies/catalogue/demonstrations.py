"""How many demonstrations does it take?"""

from foreact.studies.catalogue.grid import IMAGINES, REACTS, TWO_TASKS, in_simulation, small, trained
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim

COUNTS = (50, 10, 25)
"""Of each task, in the order in which they are run: 50 is shared with other studies where it imagines."""


def demonstrations() -> Study:
    """Does a policy that imagines need fewer demonstrations than one that reacts?

    Trained on the first 10, 25 or 50 of each of two tasks for as long each, and judged on the same seeds. Yes: with 25
    it is no more than 5 points worse than the other with 50, or its lead is greater with 10 than with 50.
    """
    cells = tuple(
        Cell(
            labels={"task": task, "policy": side, "demonstrations": count},
            policy=trained(small(side, num_demonstrations=count), TWO_TASKS),
            measure=in_simulation(task),
        )
        for count in COUNTS
        for task in reversed(TWO_TASKS)
        for side in (IMAGINES, REACTS)
    )

    def labels(side: str, count: int) -> dict[str, str | int]:
        return {"policy": side, "demonstrations": count}

    most = max(COUNTS)
    return Study(
        name="demonstrations",
        question="Does a policy that imagines need fewer demonstrations than one that reacts? 10, 25 and 50 of each "
        "of two tasks, the same time of training.",
        cells=cells,
        reference={"policy": REACTS},
        claims=(
            *(
                Claim(
                    name=f"imagining helps with {count} demonstrations",
                    first=labels(IMAGINES, count),
                    second=labels(REACTS, count),
                )
                for count in sorted(COUNTS)
            ),
            *(
                Claim(
                    name=f"imagining with {count} is no more than 5 points worse than reacting with {most}",
                    first=labels(IMAGINES, count),
                    second=labels(REACTS, most),
                    more_than=-0.05,
                )
                for count in sorted(COUNTS)[:-1]
            ),
            *(
                Claim(
                    name=f"imagining helps more with {count} demonstrations than with {most}",
                    first=labels(IMAGINES, count),
                    second=labels(REACTS, count),
                    beside=(labels(IMAGINES, most), labels(REACTS, most)),
                )
                for count in sorted(COUNTS)[:-1]
            ),
        ),
    )
