import pytest

from foreact.errors import (
    CheckpointError,
    ConfigurationError,
    DatasetError,
    ForeactError,
    InputError,
    SimulationError,
    UnknownNameError,
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


@pytest.mark.parametrize("kind", [ConfigurationError, InputError, DatasetError, CheckpointError, SimulationError])
def test_one_tree(kind: type) -> None:
    assert issubclass(kind, ForeactError)


def test_wrong_values_are_value_errors_too() -> None:
    assert issubclass(ConfigurationError, ValueError) and issubclass(InputError, ValueError)
    assert issubclass(UnknownNameError, ConfigurationError)
