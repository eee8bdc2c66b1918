"""Importing foreact leaves other libraries' loggers and matplotlib's backend alone."""

import logging
import subprocess
import sys

from foreact.from_diffusers import quiet


def test_loggers_have_their_levels_again() -> None:
    loggers = [logging.getLogger(name) for name in ("foreact.test.one", "foreact.test.two")]
    loggers[0].setLevel(logging.DEBUG)
    with quiet("foreact.test.one", "foreact.test.two"):
        assert not any(logger.isEnabledFor(logging.WARNING) for logger in loggers)
    assert [logger.level for logger in loggers] == [logging.DEBUG, logging.NOTSET]


def test_importing_the_package_and_its_figures_changes_nothing_global() -> None:
    code = (
        "import logging, sys\n"
        "import foreact, foreact.evaluation.figures, foreact.studies.picture, foreact.cost.picture\n"
        "import foreact.evaluation.modes_picture\n"
        "names = ('torchao', 'torch.utils._pytree', 'diffusers.quantizers.torchao.torchao_quantizer')\n"
        "print([logging.getLogger(name).level for name in names], 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[0, 0, 0] False\n"
    assert "Failed to load" not in done.stderr
