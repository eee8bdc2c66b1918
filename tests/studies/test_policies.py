"""A tiny study, really trained and measured: the same files as by the commands, each thing once."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.errors import CheckpointError, ConfigurationError, DatasetError
from foreact.evaluation.demonstrations import CollectionConfig
from foreact.evaluation.suite import EvaluationConfig
from foreact.policy.loading import load
from foreact.policy.storage.checkpoint import find_policy, find_vae
from foreact.studies.cells import Cell, Study
from foreact.studies.claims import Claim
from foreact.studies.demonstrations import Demonstrations, Recorded
from foreact.studies.jobs import jobs_of
from foreact.studies.judging import find
from foreact.studies.measures import HeldOut
from foreact.studies.policies import TrainingRun
from foreact.studies.runner import perform, run
from foreact.studies.store import Store
from foreact.studies.work import digest
from foreact.training.corruption import CorruptionConfig
from foreact.training.optimization import OptimizationConfig
from foreact.training.recipe import Recipe
from foreact.training.step import BatchConfig

ROBOT = Path(__file__).parents[1] / "training" / "toy.toml"
SUCCESS, ERROR = "success", "action error"


@pytest.fixture(scope="module")
def vae(tiny, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("vae") / "vae"
    tiny.vae().save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def data(tiny, tmp_path_factory) -> Recorded:
    return Recorded(folder=str(tiny.dataset(tmp_path_factory.mktemp("dataset") / "d").root))


@pytest.fixture(scope="module")
def training(tiny, vae, data) -> TrainingRun:
    recipe = Recipe(
        embodiment=str(ROBOT),
        transformer=tiny.sizes(),
        corruption=CorruptionConfig(),
        batch=BatchConfig(global_batch=2, micro_batch=2, max_frames=6, max_chunk=2, window=(2, 4)),
        optimization=OptimizationConfig(num_steps=3, learning_rate=1e-2, warmup_steps=1),
        inference=tiny.inference().choices,
        num_held_out=1,
    )
    return TrainingRun(recipe=recipe, data=(data,), vae=vae)


@pytest.fixture
def study(training, data) -> Study:
    settings = training.recipe
    reacting = replace(
        settings,
        batch=replace(settings.batch, imagines=False),
    )
    policies = {"imagines": training, "reacts": replace(training, recipe=reacting)}
    measures = {
        SUCCESS: EvaluationConfig(task="reach_cube", num_episodes=2, seed=10),
        ERROR: HeldOut(dataset=data, num_episodes=2),
    }
    cells = tuple(
        Cell(labels={"policy": side, "measured": name}, policy=policy, measure=measure)
        for name, measure in measures.items()
        for side, policy in policies.items()
    )
    imagines, reacts = ({"policy": side, "measured": SUCCESS} for side in policies)
    return Study(
        name="toy",
        question="Does it?",
        cells=cells,
        reference={"policy": "reacts"},
        claims=(Claim(name="imagining helps", first=imagines, second=reacts),),
    )


def do_all(study: Study, store: Store) -> list[str]:
    """Do what is left in this process; return what it was."""
    jobs = jobs_of((cell.work for cell in study.cells), store)
    for job in jobs:
        assert perform(job.work, store, "cpu", lambda *_: None)[0] == "done"
    return [job.work.kind for job in jobs]


def test_a_study_from_training_to_findings(study, store, toy_env, one_thread) -> None:
    kinds = do_all(study, store)
    assert kinds == ["training", "evaluation", "training", "evaluation", "held_out", "held_out"]
    found = find(study, store)
    assert all(report.is_done for report in found.cells)
    assert found.cells[0].figures["success"].middle == 0.5  # even seeds succeed in the toy world
    assert found.claims[0].verdict == "not decided by the interval"
    errors = found.cells[2].figures
    assert errors["action_error"].middle > 0 and np.isfinite(errors["imagination_psnr_db"].middle)
    assert "imagination_psnr_db" not in found.cells[3].figures and found.cells[2].against is not None

    times = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    assert do_all(study, store) == [] and toy_env == [10, 11, 10, 11]
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()} == times

    first, *others = study.cells
    more = replace(study, cells=(replace(first, measure=replace(first.measure, num_episodes=3)), *others))
    assert do_all(more, store) == ["evaluation"] and toy_env[4:] == [12]
    changed = replace(study, cells=(replace(first, changes={"video_steps": 1}), *others))
    assert do_all(changed, store) == ["evaluation"] and toy_env[5:] == [10, 11]
    assert find(study, store).cells[0].num_units == 2, "of a longer evaluation only the seeds asked for"


def test_a_trained_policy_is_resumed_where_it_was_killed(training, store, one_thread) -> None:
    straight = Store(store.root.with_name("straight"))
    training = replace(training, recipe=replace(training.recipe, save_every=1))
    perform(training, straight, "cpu", lambda *_: None)

    def kill(done: int, total: int, figures: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        perform(training, store, "cpu", kill)
    steps = []
    perform(training, store, "cpu", lambda done, *_: steps.append(done))
    assert steps == [2, 3], "what was done is there, and told first"
    one, other = (load(each.folder(training) / "policy").digest() for each in (straight, store))
    assert one == other


@pytest.fixture(scope="module")
def trained(training, tmp_path_factory) -> Store:
    """A store in which the training is done."""
    store = Store(tmp_path_factory.mktemp("trained"))
    assert perform(training, store, "cpu", lambda *_: None)[0] == "done"
    return store


def test_a_policy_goes_on_from_another_and_latents_are_encoded_once(training, trained, data, tiny) -> None:
    further = replace(training, initial=training)
    assert [job.work for job in jobs_of([further], Store(trained.root / "empty"))] == [training, further]
    cache = LatentCache(EpisodeDataset(data.folder), tiny.vae(), tiny.embodiment())
    times = [cache.path(number).stat().st_mtime_ns for number in range(4)]
    assert perform(further, trained, "cpu", lambda *_: None)[0] == "done"
    stored = json.loads((trained.folder(further) / "policy" / "config.json").read_text())
    assert "initial" in stored["provenance"]
    assert [cache.path(number).stat().st_mtime_ns for number in range(4)] == times


def test_a_failure_is_told_in_words(training, store) -> None:
    state, _, reason = perform(replace(training, initial="no-such-policy"), store, "cpu", lambda *_: None)
    assert state == "failed" and "no-such-policy" in reason


@pytest.mark.parametrize(
    "change",
    [
        lambda run: replace(run, recipe=replace(run.recipe, seed=1)),
        lambda run: replace(run, recipe=replace(run.recipe, num_episodes=2)),
        lambda run: replace(run, data=run.data * 2),
        lambda run: replace(run, vae="tiny"),
        lambda run: replace(run, initial="tiny"),
        lambda run: replace(run, recipe=replace(run.recipe, embodiment="aloha")),
    ],
    ids=["seed", "episodes", "data", "vae", "initial", "robot"],
)
def test_what_is_changed_is_another_run(training, change: Callable) -> None:
    assert digest(change(training)) != digest(training)


def test_a_run_is_the_same_wherever_its_files_lie(training, vae, data, tmp_path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(vae, moved / "v")
    shutil.copytree(data.folder, moved / "d")
    shutil.copy(ROBOT, moved / ROBOT.name)
    recipe = replace(training.recipe, embodiment=str(moved / ROBOT.name))
    other = TrainingRun(recipe=recipe, data=(Recorded(folder=str(moved / "d")),), vae=str(moved / "v"))
    assert digest(other) == digest(training)


def test_a_setting_that_is_not_set_does_not_count(training) -> None:
    """So one that is added later, unset, leaves the names of older runs alone."""
    assert "num_episodes" not in training.fingerprint()["recipe"] and "layout" not in training.fingerprint()["recipe"]


def test_longer_trainings_are_expected_to_take_longer(training) -> None:
    longer = replace(training.recipe, optimization=replace(training.recipe.optimization, num_steps=6))
    assert replace(training, recipe=longer).expected_s == pytest.approx(2 * training.expected_s)
    reacting = replace(training.recipe, batch=replace(training.recipe.batch, imagines=False))
    assert replace(training, recipe=reacting).expected_s < training.expected_s


def test_folders_by_name() -> None:
    assert (find_policy("tiny") / "config.json").exists()
    assert find_vae("tiny") == find_policy("tiny") / "vae" == find_vae(str(find_policy("tiny") / "vae"))
    with pytest.raises(CheckpointError, match="tinny"):
        find_policy("tinny")


def test_a_dataset_that_is_not_there_is_refused(tmp_path) -> None:
    with pytest.raises(DatasetError, match="record it"):
        Recorded(folder=str(tmp_path)).fingerprint()


def test_demonstrations_are_recorded_once(store, monkeypatch) -> None:
    config = CollectionConfig(task="lift_cube", num_episodes=3)
    asked = []

    def collect(config: CollectionConfig, root: Path, robot) -> list[int]:
        asked.append((config, root))
        return [1, 2, 3]

    monkeypatch.setattr("foreact.studies.demonstrations.collect", collect)
    work = Demonstrations(config=config)
    for _ in range(2):
        assert perform(work, store, "cpu", lambda *_: None)[0] == "done"
    assert asked == [(config, store.folder(work) / "dataset")]
    assert digest(work) != digest(Demonstrations(config=replace(config, num_episodes=4)))


def test_held_out_episodes_that_there_are_not_are_refused(training, data, trained) -> None:
    cell = Cell(labels={"a": 1}, policy=training, measure=HeldOut(dataset=data, num_episodes=9))
    state, _, reason = perform(cell.work, trained, "cpu", lambda *_: None)
    assert state == "failed" and "1 to 4" in reason
    with pytest.raises(ConfigurationError, match="num_episodes"):
        HeldOut(dataset=data, num_episodes=0)


@pytest.mark.slow
def test_workers_give_what_one_process_gives(study, store, one_thread) -> None:
    """Spawned workers, two at a time: the same weights and the same figures, to the last bit."""
    here = Store(store.root.with_name("here"))
    measured = [cell.work for cell in study.choose({"measured": ERROR})]
    for job in jobs_of(measured, here):
        perform(job.work, here, "cpu", lambda *_: None)
    assert not run(jobs_of(measured, store), store, workers=2).failed
    for work in measured:
        assert work.read(store) == work.read(here)
