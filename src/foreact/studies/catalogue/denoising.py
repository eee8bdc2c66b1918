"""How far, and in how many steps, must a policy imagine?"""

from foreact.studies.catalogue.grid import in_simulation, recipe, trained
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim

STOPS = (0.5, 0.0, 0.75, 0.25)
"""Flow times at which imagining stops, in the order in which they are run; 0 imagines nothing: actions read noise."""
STEPS = (1, 3, 2, 10, 20)
OWN_STEPS, WHOLE = 5, 1.0


def denoising() -> Study:
    """How little imagining is enough?

    The same network throughout; only the video's denoising steps and the flow time at which they stop are changed. A
    half-finished imagination is enough if stopping at 0.5 costs no more than 5 points; imagining matters at all if
    finishing it beats reading noise (0).
    """
    grid = [(WHOLE, OWN_STEPS)]
    grid += [(stop, OWN_STEPS if stop else 0) for stop in STOPS]
    grid += [(WHOLE, steps) for steps in STEPS]
    policy = trained(recipe())
    cells = tuple(
        Cell(
            labels={"task": task, "s_stop": stop, "video_steps": steps},
            policy=policy,
            changes={"s_stop": stop, "video_steps": steps},
            measure=in_simulation(task),
        )
        for task in ("lift_cube", "transfer_cube", "remember_bin", "reach_cube")
        for stop, steps in grid
    )
    own = {"s_stop": WHOLE, "video_steps": OWN_STEPS}
    return Study(
        name="denoising",
        question="How far, and in how many steps, must a policy imagine before it decodes actions?",
        cells=cells,
        reference=own,
        claims=(
            Claim(name="imagining matters: finishing it beats reading noise", first=own, second=_stop(0.0)),
            *(
                Claim(
                    name=f"stopping at s = {stop:g} costs no more than 5 points",
                    first=_stop(stop),
                    second=own,
                    more_than=-0.05,
                )
                for stop in sorted(STOPS)[1:]
            ),
            *(
                Claim(
                    name=f"{steps} video steps are no more than 5 points worse than {OWN_STEPS}",
                    first=_steps(steps),
                    second=own,
                    more_than=-0.05,
                )
                for steps in (1, 2, 3)
            ),
            *(
                Claim(
                    name=f"{OWN_STEPS} video steps are no more than 5 points worse than {steps}",
                    first=own,
                    second=_steps(steps),
                    more_than=-0.05,
                )
                for steps in (10, 20)
            ),
            Claim(name="one step imagines worse than five", first=_steps(1), second=own, figure="imagination_error"),
        ),
    )


def _stop(stop: float) -> dict[str, float | int]:
    return {"s_stop": stop, "video_steps": OWN_STEPS if stop else 0}


def _steps(steps: int) -> dict[str, float | int]:
    return {"s_stop": WHOLE, "video_steps": steps}
