from dataclasses import replace

import pytest
import torch

from foreact.errors import UnknownNameError
from foreact.policy.loading import load
from foreact.policy.storage.checkpoint import find_policy
from foreact.studies.catalogue import STUDIES, get_study
from foreact.studies.catalogue.ablations import NONE, SHARED, SHARED_TIME
from foreact.studies.catalogue.compute import COARSE, FINE, OWN
from foreact.studies.policies import TrainingRun
from foreact.studies.work import digest
from foreact.transformer.model import WorldActionModel


def policies(name: str) -> set[str]:
    return {digest(cell.policy) for cell in get_study(name).cells if isinstance(cell.policy, TrainingRun)}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_can_be_planned(name: str) -> None:
    study = get_study(name)
    assert study.name == name and study.question.endswith((".", "?"))
    assert STUDIES[name].__doc__.splitlines()[0].endswith("?") or "Records" in STUDIES[name].__doc__
    assert len({digest(cell.work) for cell in study.cells}) == len(study.cells), "no cell is another"
    assert study.claims and all(cell.work.expected_s > 0 for cell in study.cells)


def test_an_unknown_study_is_refused_and_the_known_ones_listed() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'imagination'"):
        get_study("imaginations")


def test_studies_share_what_they_have_in_common() -> None:
    imagines = {digest(get_study("imagination").cells[0].policy)}
    assert policies("drift-and-loop") == imagines
    assert policies("memory") == policies("imagination") > imagines
    with_two_tasks = {digest(get_study("ablations").cells[0].policy)}
    for name in ("ablations", "compute", "demonstrations"):
        assert with_two_tasks < policies(name)


def test_a_change_to_what_is_the_policys_own_is_no_change() -> None:
    cell = get_study("imagination").cells[0]
    inference = cell.policy.recipe.inference
    same = replace(cell, changes={"s_stop": inference.s_stop, "video_steps": inference.video_steps})
    other = replace(cell, changes={"s_stop": 0.5, "video_steps": inference.video_steps})
    assert digest(same.work) == digest(cell.work) != digest(other.work)


def test_both_sides_have_the_same_demonstrations_and_seeds() -> None:
    imagines, reacts = get_study("imagination").cells[:2]
    assert imagines.policy.data == reacts.policy.data and imagines.measure == reacts.measure
    assert imagines.policy.recipe.num_episodes == reacts.policy.recipe.num_episodes == 50
    assert imagines.measure.num_episodes >= 50
    costs = [cell.policy.expected_s for cell in (imagines, reacts)]
    assert costs[0] == pytest.approx(costs[1], rel=0.25)


def test_a_shared_backbone_has_as_many_weights_or_takes_as_long() -> None:
    recipes = {cell.labels["change"]: cell.policy.recipe for cell in get_study("ablations").cells}

    def num_weights(change: str) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in WorldActionModel(recipes[change].transformer).parameters())

    assert num_weights(SHARED) == pytest.approx(num_weights(NONE), rel=0.01)
    own, shared, timed = (recipes[change].optimization for change in (NONE, SHARED, SHARED_TIME))
    assert shared == own and timed == replace(own, num_steps=timed.num_steps) and timed.num_steps < own.num_steps


def test_denoising_changes_the_shipped_policys_steps_alone() -> None:
    study, own = get_study("denoising"), load(find_policy("tiny")).config
    grid = {tuple(cell.changes.values()) for cell in study.cells}
    assert {stop for stop, _, _ in grid} == {0.0, 0.25, 0.5, 0.6, 0.75, 1.0}
    assert {steps for stop, steps, _ in grid if stop == 1.0} == {1, 2, 3, 5, 10, 20}
    for cell in study.cells:
        assert cell.policy == "tiny"
        settings = replace(own, **cell.changes)  # would refuse what cannot be
        assert len(settings.video_times) == cell.labels["video_steps"] + 1
    reference = study.choose(study.reference)[0]
    assert {name: getattr(own, name) for name in reference.changes} == reference.changes


def test_a_frame_is_as_many_tokens_as_it_says() -> None:
    tokens = {cell.labels["size"]: cell.policy.recipe.transformer.video_tokens for cell in get_study("compute").cells}
    assert (tokens[COARSE], tokens[OWN], tokens[FINE]) == (4, 16, 64)
