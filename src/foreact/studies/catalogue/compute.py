"""What do more training, and a larger network, still gain?"""

from collections.abc import Iterator
from dataclasses import replace

from foreact.studies.catalogue.grid import TWO_TASKS, TWO_TASKS_STEPS, in_simulation, small, trained
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim
from foreact.training.recipe import Recipe

OWN_STEPS = TWO_TASKS_STEPS
STEPS = (OWN_STEPS, OWN_STEPS // 2, 2 * OWN_STEPS, 4 * OWN_STEPS)
OWN, WIDE, SHORT_CHUNKS, SHORT_WINDOW = "own", "width 192", "chunks of 2", "window of 8"
COARSE, FINE = "4 video tokens a frame", "64 video tokens a frame"
SIZES = (SHORT_CHUNKS, SHORT_WINDOW, WIDE, COARSE, FINE)


def compute() -> Study:
    """How does success grow with compute, and what should it be spent on?

    One network for two tasks, trained for half, as many, twice and four times the steps of the other studies of two
    tasks, each with a learning rate that falls to its own end; and with other sizes at those studies' steps. More
    training is worth it as long as a doubling gains 3 points or more. Fewer or more video tokens are larger or
    smaller patches of the same latents.
    """
    policies = list(_sizes())
    cells = tuple(
        Cell(
            labels={"task": task, "steps": settings.optimization.num_steps, "size": size},
            policy=trained(settings, TWO_TASKS),
            measure=in_simulation(task),
        )
        for size, settings in policies
        for task in TWO_TASKS
    )
    doublings = [(more, more // 2) for more in sorted(STEPS)[1:]]
    own = {"steps": OWN_STEPS, "size": OWN}
    return Study(
        name="compute",
        question="How does success grow with training, with the size of the network, and with the tokens of a frame?",
        cells=cells,
        reference=own,
        claims=(
            *(
                Claim(
                    name=f"doubling from {less} to {more} steps gains more than 3 points",
                    first={"steps": more, "size": OWN},
                    second={"steps": less, "size": OWN},
                    more_than=0.03,
                )
                for more, less in doublings
            ),
            *(Claim(name=f"{size} is better", first={"steps": OWN_STEPS, "size": size}, second=own) for size in SIZES),
        ),
    )


def _sizes() -> Iterator[tuple[str, Recipe]]:
    own = small()
    for steps in STEPS[:3]:
        yield OWN, _for_steps(own, steps)
    sizes, inference = own.transformer, own.inference
    yield (
        SHORT_CHUNKS,
        replace(
            own,
            batch=replace(own.batch, max_chunk=2),
            inference=replace(inference, latent_frames_per_chunk=2),
        ),
    )
    yield (
        SHORT_WINDOW,
        replace(
            own,
            batch=replace(own.batch, window=(4, 8)),
            inference=replace(inference, window=8),
        ),
    )
    yield (
        WIDE,
        replace(
            own,
            transformer=replace(sizes, video_width=192, action_width=144, video_ffn_dim=576, action_ffn_dim=576),
        ),
    )
    yield COARSE, replace(own, transformer=replace(sizes, patch_size=4))
    for steps in STEPS[3:]:
        yield OWN, _for_steps(own, steps)
    yield FINE, replace(own, transformer=replace(sizes, patch_size=1))


def _for_steps(own: Recipe, steps: int) -> Recipe:
    return replace(own, optimization=replace(own.optimization, num_steps=steps))
