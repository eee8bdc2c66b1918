from dataclasses import replace

import pytest

from foreact.errors import ConfigurationError, UnknownNameError
from foreact.evaluation.suite import EvaluationConfig
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim

IMAGINES, REACTS = {"policy": "imagines"}, {"policy": "reacts"}


def cell(task: str, policy: str, **settings) -> Cell:
    measure = EvaluationConfig(task=task, num_episodes=3)
    return Cell(labels={"task": task, "policy": policy}, policy="tiny", measure=measure, **settings)


@pytest.fixture
def study() -> Study:
    cells = [cell(task, policy) for task in ("reach_cube", "lift_cube") for policy in ("imagines", "reacts")]
    claim = Claim(name="imagining helps", first=IMAGINES, second=REACTS)
    return Study(name="toy", question="Does it?", cells=(*cells,), reference=REACTS, claims=(claim,))


def names(cells) -> list[str]:
    return [cell.name for cell in cells]


def test_cells_are_chosen_by_their_labels(study) -> None:
    assert names(study.choose(REACTS)) == ["task=reach_cube, policy=reacts", "task=lift_cube, policy=reacts"]


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ([], [0, 1, 2, 3]),
        (["task=lift_cube"], [2, 3]),
        (["task=lift_cube", "policy=imagines"], [2]),
        (["task=lift_cube", "task=reach_cube", "policy=reacts"], [1, 3]),
    ],
)
def test_only_some_cells(study, wanted: list[str], chosen: list[int]) -> None:
    assert study.only(wanted) == [study.cells[number] for number in chosen]


def test_what_no_cell_has_together_is_refused(study) -> None:
    few = replace(study, cells=(study.cells[0], study.cells[3]), claims=())
    with pytest.raises(ConfigurationError, match="--list shows all cells"):
        few.only(["task=lift_cube", "policy=imagines"])


def test_unknown_labels_are_refused_and_the_known_ones_listed(study) -> None:
    with pytest.raises(UnknownNameError, match=r"label of the study toy.*'tusk'.*policy, task.*did you mean 'task'"):
        study.only(["tusk=lift_cube"])
    with pytest.raises(UnknownNameError, match=r"task of the study toy.*'lift_cub'.*lift_cube, reach_cube"):
        study.only(["task=lift_cub"])
    with pytest.raises(ConfigurationError, match="LABEL=VALUE"):
        study.only(["lift_cube"])


def test_cells_are_paired_by_the_other_labels(study) -> None:
    pairs = study.pairs(IMAGINES, REACTS)
    assert [(one.name, other.name) for one, other in pairs] == [
        ("task=reach_cube, policy=imagines", "task=reach_cube, policy=reacts"),
        ("task=lift_cube, policy=imagines", "task=lift_cube, policy=reacts"),
    ]
    assert len(study.pairs({"task": "lift_cube", **IMAGINES}, {"task": "reach_cube", **IMAGINES})) == 1


def test_every_cell_has_its_reference(study) -> None:
    assert study.reference_of(study.cells[2]) is study.cells[3]
    assert study.reference_of(study.cells[3]) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": ()}, "no cells"),
        ({"cells": (cell("lift_cube", "a"), cell("lift_cube", "a"))}, "twice"),
        ({"reference": {"policy": "dreams"}}, "dreams"),
        ({"reference": {"robot": "aloha"}}, "label of the study"),
        ({"claims": (Claim(name="c", first={"policy": "dreams"}, second=REACTS),)}, "dreams"),
    ],
)
def test_impossible_studies_are_refused(study, change: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(study, **change)


def test_cells_of_other_labels_are_refused(study) -> None:
    odd = Cell(labels={"task": "lift_cube"}, policy="tiny", measure=EvaluationConfig(task="lift_cube"))
    with pytest.raises(ConfigurationError, match="task, policy"):
        replace(study, cells=(*study.cells, odd))


def test_a_claim_without_a_pair_is_refused(study) -> None:
    cells = (study.cells[0], study.cells[3])  # one task each
    with pytest.raises(ConfigurationError, match="no two cells"):
        replace(study, cells=cells)


def test_a_change_of_no_setting_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"inference setting.*video_steps"):
        cell("lift_cube", "a", changes={"video_step": 3})
