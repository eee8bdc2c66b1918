"""One look for all figures: `foreact.mplstyle`, applied while a figure is made and drawn, and nowhere else."""

from contextlib import AbstractContextManager
from importlib.resources import files

from matplotlib import style


def house_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws as all figures of foreact look; what a user has set comes back."""
    return style.context(str(files("foreact") / "foreact.mplstyle"))
