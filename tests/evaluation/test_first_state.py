"""The state that imagining begins with: as numbers, from files, and the typical one."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foreact.embodiments import ActionCodec, Arm, Embodiment, load_embodiment
from foreact.embodiments.actions import END_EFFECTOR
from foreact.embodiments.embodiment import embodiment_names
from foreact.embodiments.normalization import QuantileNormalizer
from foreact.errors import InputError, UnknownNameError
from foreact.evaluation.first_state import read_state, typical_state

NAMES = ("shoulder", "elbow", "gripper")
WANTED = np.array([0.5, -1.25, 1], np.float32)


@pytest.mark.parametrize("words", [("0.5", "-1.25", "1"), ("0.5,-1.25,1",), ("5e-1", "-1.25,1")])
def test_numbers_in_order(words: tuple[str, ...]) -> None:
    state = read_state(words, NAMES)
    assert state.dtype == np.float32 and np.array_equal(state, WANTED)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[0.5, -1.25, 1]"),
        ("a.json", '{"gripper": 1, "shoulder": 0.5, "elbow": -1.25}'),
        ("a.csv", "0.5,-1.25,1\n"),
        ("a.CSV", "gripper, shoulder, elbow\n1, 0.5, -1.25\n"),
        ("a.csv", "\nshoulder,elbow,gripper\n0.5,-1.25,1\n9,9,9\n"),
    ],
)
def test_a_file_by_position_or_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert np.array_equal(read_state([str(tmp_path / name)], NAMES), WANTED)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("0.5", "1"), "got: 2 numbers; allowed: 3: shoulder, elbow, gripper"),
        (("0.5", "1", "2", "3"), "got: 4 numbers"),
        (("0.5", "one", "2"), "'one'.*allowed: numbers, or one file .csv or .json"),
        (("0.5", "nan", "2"), "state: elbow; got: nan; allowed: finite"),
        (("inf", "0", "2"), "state: shoulder; got: inf"),
    ],
)
def test_wrong_numbers_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_state(words, NAMES)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "[0.5, -1.25", r"a\.json; got: .*check the file"),
        ("a.json", "3", r"a\.json; got: int; allowed: a list, or a table"),
        ("a.json", '{"shoulder": 1, "elbow": 2}', "got: none for gripper"),
        ("a.json", "[0.5, null, 1]", "allowed: numbers"),
        ("a.csv", "", "got: 0 numbers"),
        ("a.csv", "shoulder,elbow,gripper\n1,2\n", "check the file"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_state([str(tmp_path / name)], NAMES)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"state in .*no\.csv.*No such file"):
        read_state([str(tmp_path / "no.csv")], NAMES)


def test_an_unknown_name_is_refused_and_the_known_ones_listed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"shoulder": 0, "elbow": 0, "griper": 0}))
    with pytest.raises(UnknownNameError, match=r"'griper'; allowed: elbow, gripper, shoulder; did you mean 'gripper'"):
        read_state([str(tmp_path / "a.json")], NAMES)


def codec_of(robot: Embodiment, low: np.ndarray, span: np.ndarray) -> ActionCodec:
    normalizer = QuantileNormalizer(q01=low, q99=low + span, mask=robot.channel_mask.copy())
    return ActionCodec(embodiment=robot, normalizer=normalizer)


@given(st.integers(0, 1000))
def test_the_typical_state_is_zero_in_the_models_units(seed: int) -> None:
    rng, robot = np.random.default_rng(seed), load_embodiment("aloha")
    low, span = rng.uniform(-1, 0, 30), rng.uniform(0.1, 1, 30)
    low[28:], span[28:] = 0.1, 0.6  # gripper openings: holding one keeps it between closed and open
    codec = codec_of(robot, low, span)
    held = robot.hold_action(typical_state(codec))
    assert np.abs(codec.encode(held[None])).max() < 1e-5


def test_increments_say_nothing_of_the_state_but_the_gripper() -> None:
    robot = load_embodiment("libero_panda")
    low, span = np.full(30, -1.0), np.full(30, 2.0)
    low[28], span[28] = 0.0, 0.5
    state = typical_state(codec_of(robot, low, span))
    assert state.tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 0.04 * 0.25, 0])


def hand(representation: str) -> Embodiment:
    """A hand told where to be, by position and quaternion, on the tiny cameras."""
    libero = load_embodiment("libero_panda")
    names = ("x", "y", "z", "w", "i", "j", "k")
    arm = Arm(
        side="left",
        space="end_effector",
        representation=representation,
        entries=tuple(range(7)),
        rotation="quaternion_wxyz",
        reference_quaternion=(1.0, 0.0, 0.0, 0.0),
    )
    dofs = tuple(dataclasses.replace(libero.dofs[0], name=name, unit="", low=None, high=None) for name in names)
    return dataclasses.replace(libero, dofs=dofs, arms=(arm,), state_names=())


def test_a_relative_arm_starts_at_the_origin() -> None:
    low = np.full(30, -1.0)
    low[END_EFFECTOR["left"]] = 0.3
    state = typical_state(codec_of(hand("relative"), low, np.full(30, 2.0)))
    assert state.tolist() == [0, 0, 0, 1, 0, 0, 0]


def test_rotations_without_a_middle_give_the_reference() -> None:
    low = np.full(30, -1.0)
    low[:3] = (1, 2, 3)
    state = typical_state(codec_of(hand("absolute"), low, np.full(30, 2.0)))
    assert state.tolist() == pytest.approx([2, 3, 4, 0, 1, 0, 0])


@pytest.mark.parametrize("name", embodiment_names())
def test_every_shipped_robot_has_a_typical_state(name: str) -> None:
    """Even where the middle of all numbers is zero, which is no rotation."""
    robot = load_embodiment(name)
    state = typical_state(codec_of(robot, np.full(30, -1.0), np.full(30, 2.0)))
    assert state.shape == (robot.num_state_entries,) and np.isfinite(state).all()
    for arm in robot.arms:
        if arm.rotation == "quaternion_xyzw":
            assert np.linalg.norm(state[list(arm.entries[3:])]) == pytest.approx(1)
