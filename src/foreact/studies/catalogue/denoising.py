"""How far, and in how many steps, must a policy imagine?"""

from foreact.policy.schedules import SCHEDULES
from foreact.studies.catalogue.grid import in_simulation
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim, Labels

POLICY = "tiny"
TASKS = ("lift_cube", "transfer_cube", "reach_cube")
"""What it was trained on, in the order in which they are run."""
WHOLE, OWN_STEPS, ACTION_STEPS = 1.0, 5, 10
"""Its own settings."""
STOPS = (0.5, 0.0, 0.75, 0.25)
"""Flow times at which imagining stops, in the order in which they are run; 0 imagines nothing: actions read noise."""
STEPS = (1, 3, 2, 10, 20)
NAMED = ("fast", "turbo")


def denoising() -> Study:
    """How little imagining is enough?

    The policy that ships throughout; only its denoising steps and the flow time at which imagining stops are changed. A
    half-finished imagination is enough if stopping at 0.5 costs no more than 5 points; imagining matters at all if
    finishing it beats reading noise (0).
    """
    named = {
        name: _labels(SCHEDULES[name].s_stop or WHOLE, SCHEDULES[name].video_steps, SCHEDULES[name].action_steps)
        for name in NAMED
    }
    own = _labels(WHOLE, OWN_STEPS)
    grid = [own, *map(_stop, STOPS), *map(_steps, STEPS), *named.values()]
    cells = tuple(
        Cell(labels={"task": task, **settings}, policy=POLICY, changes=settings, measure=in_simulation(task))
        for task in TASKS
        for settings in grid
    )
    return Study(
        name="denoising",
        question="How far, and in how many steps, must a policy imagine before it decodes actions? Asked of the one "
        "that ships.",
        cells=cells,
        reference=own,
        claims=(
            Claim(name="imagining matters: finishing it beats reading noise", first=own, second=_stop(0.0)),
            *(
                _no_worse(f"stopping at s = {stop:g} costs no more than 5 points", _stop(stop), own)
                for stop in sorted(STOPS)[1:]
            ),
            *(
                _no_worse(f"{steps} video steps are no more than 5 points worse than {OWN_STEPS}", _steps(steps), own)
                for steps in (1, 2, 3)
            ),
            *(
                _no_worse(f"{OWN_STEPS} video steps are no more than 5 points worse than {steps}", own, _steps(steps))
                for steps in (10, 20)
            ),
            *(
                _no_worse(f"the schedule {name} is no more than 5 points worse than its own", settings, own)
                for name, settings in named.items()
            ),
            Claim(name="one step imagines worse than five", first=_steps(1), second=own, figure="imagination_error"),
        ),
    )


def _no_worse(name: str, first: Labels, second: Labels) -> Claim:
    return Claim(name=name, first=first, second=second, more_than=-0.05)


def _labels(s_stop: float, video_steps: int, action_steps: int = ACTION_STEPS) -> dict[str, float | int]:
    return {"s_stop": s_stop, "video_steps": video_steps, "action_steps": action_steps}


def _stop(s_stop: float) -> dict[str, float | int]:
    return _labels(s_stop, OWN_STEPS if s_stop else 0)


def _steps(steps: int) -> dict[str, float | int]:
    return _labels(WHOLE, steps)
