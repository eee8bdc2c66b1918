"""One look for all figures: `foreact.mplstyle`, applied while a figure is made and drawn, and nowhere else."""

from contextlib import ContextDecorator
from importlib.resources import files
from typing import cast

from matplotlib import style


def house_style() -> ContextDecorator:
    """Return a context in which matplotlib draws as all figures of foreact look; what a user has set comes back."""
    return cast("ContextDecorator", style.context(str(files("foreact") / "foreact.mplstyle")))
