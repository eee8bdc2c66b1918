"""`foreact play`, where its page cannot be had."""

import sys

import pytest

from foreact.commands.main import main
from foreact.errors import install_command


def test_without_viser_one_is_told_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    for name in [name for name in sys.modules if name.startswith("foreact.viewing.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as ended:
        main(["play"])
    assert ended.value.code == 2
    assert f"viser is not installed; {install_command('play')}" in " ".join(capsys.readouterr().err.split())
