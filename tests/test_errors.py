from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from foreact import errors
from foreact.errors import (
    CheckpointError,
    ConfigurationError,
    DatasetError,
    ForeactError,
    InputError,
    NotInstalledError,
    SimulationError,
    UnknownNameError,
    install_command,
)


def test_message_names_the_thing_then_got_allowed_and_cure() -> None:
    error = ForeactError("window", got=0, allowed="1 or more", cure="pass --window 8")
    assert str(error) == "window; got: 0; allowed: 1 or more; pass --window 8"
    assert str(ForeactError("broken")) == "broken"


def test_unknown_names_list_the_known_in_order_and_guess() -> None:
    error = UnknownNameError("task", "lift_cub", ["transfer_cube", "lift_cube", "reach_cube"])
    assert "unknown task; got: 'lift_cub'; allowed: lift_cube, reach_cube, transfer_cube" in str(error)
    assert "did you mean 'lift_cube'?" in str(error)
    assert "did you mean" not in str(UnknownNameError("task", "zzz", ["lift_cube"]))


GIT = '{"url": "https://git.example/foreact.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'


@pytest.mark.parametrize(
    ("written", "command"),
    [
        ('{"url": "file:///src/my foreact", "dir_info": {"editable": true}}', 'pip install -e "/src/my foreact[sim]"'),
        ('{"url": "file:///src/foreact", "dir_info": {}}', 'pip install "foreact[sim] @ file:///src/foreact"'),
        (GIT, 'pip install "foreact[sim] @ git+https://git.example/foreact.git@abc"'),
        (None, 'pip install "foreact[sim]"'),
        (PackageNotFoundError("foreact"), 'pip install "foreact[sim]"'),
    ],
)
def test_an_extra_is_installed_from_where_foreact_came(monkeypatch, written, command: str) -> None:
    def distribution(name: str) -> SimpleNamespace:
        if isinstance(written, Exception):
            raise written
        return SimpleNamespace(read_text=lambda file: written if (name, file) == ("foreact", "direct_url.json") else 0)

    monkeypatch.setattr(errors, "distribution", distribution)
    assert install_command("sim") == command
    assert command in str(NotInstalledError("the simulator", missing="mujoco", extra="sim"))


@pytest.mark.parametrize("kind", [ConfigurationError, InputError, DatasetError, CheckpointError, SimulationError])
def test_one_tree(kind: type) -> None:
    assert issubclass(kind, ForeactError)


def test_wrong_values_are_value_errors_too() -> None:
    assert issubclass(ConfigurationError, ValueError) and issubclass(InputError, ValueError)
    assert issubclass(UnknownNameError, ConfigurationError)
