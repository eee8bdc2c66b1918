"""Does the history serve as a memory?"""

from foreact.studies.catalogue.grid import IMAGINES, REACTS, in_simulation, recipe, trained
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim

TASK = "remember_bin"
CHANCE = 1 / 3
"""Of the right bin, for a policy that saw the lamp and forgot it."""
FULL, CHUNK = "full", "one chunk"


def memory() -> Study:
    """Does the history in the cache carry what was seen at the beginning to where it is needed?

    A lamp shows a colour, goes dark for a random time, and the cube belongs into the bin of that colour. The same
    networks are run with their whole history and with a window of one chunk, which forgets the lamp. Yes: with its
    history the policy succeeds more often than chance, and more often than with the window cut. Chance is 1/3 for a
    policy that always brings the cube to some bin; failures on the way count against all alike.
    """
    frames = recipe().inference.latent_frames_per_chunk
    cells = tuple(
        Cell(
            labels={"task": TASK, "policy": side, "history": history},
            policy=trained(recipe(side)),
            changes=changes,
            measure=in_simulation(TASK),
        )
        for side in (IMAGINES, REACTS)
        for history, changes in ((FULL, {}), (CHUNK, {"window": frames}))
    )
    full, cut = {"history": FULL}, {"history": CHUNK}
    return Study(
        name="memory",
        question="Does the history carry what was seen at the beginning to where it is needed? A lamp's colour says "
        "into which of three bins the cube belongs, seconds after it went dark.",
        cells=cells,
        reference={"history": CHUNK},
        claims=(
            *(
                Claim(
                    name=f"the policy that {side} does better than chance",
                    first={"policy": side, **full},
                    more_than=CHANCE,
                )
                for side in (IMAGINES, REACTS)
            ),
            *(
                Claim(
                    name=f"the policy that {side} does better with its history than without",
                    first={"policy": side, **full},
                    second={"policy": side, **cut},
                )
                for side in (IMAGINES, REACTS)
            ),
            Claim(
                name="with its history, the policy that imagines does better than the one that reacts",
                first={"policy": IMAGINES, **full},
                second={"policy": REACTS, **full},
            ),
        ),
    )
