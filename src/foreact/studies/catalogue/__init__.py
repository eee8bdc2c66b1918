"""The studies by name, as plain functions: each says its question in plain words, and what counts as yes or no."""

from collections.abc import Callable

from foreact.errors import UnknownNameError
from foreact.studies.catalogue.ablations import ablations
from foreact.studies.catalogue.compute import compute
from foreact.studies.catalogue.demonstrations import demonstrations
from foreact.studies.catalogue.denoising import denoising
from foreact.studies.catalogue.drift_and_loop import drift_and_loop
from foreact.studies.catalogue.imagination import imagination, imagination_again
from foreact.studies.catalogue.memory import memory
from foreact.studies.catalogue.quick import quick
from foreact.studies.cells import Study

STUDIES: dict[str, Callable[[], Study]] = {
    "quick": quick,
    "imagination": imagination,
    "memory": memory,
    "denoising": denoising,
    "demonstrations": demonstrations,
    "imagination-again": imagination_again,
    "drift-and-loop": drift_and_loop,
    "ablations": ablations,
    "compute": compute,
}


def get_study(name: str) -> Study:
    """Return the study of that name; it holds settings only, so this costs nothing.

    Raises:
        UnknownNameError: There is none; those there are are listed.
    """
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES)
    return STUDIES[name]()
