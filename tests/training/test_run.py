import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import SequenceSampler, TrainingSequence
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.errors import CheckpointError, ConfigurationError, DatasetError, TrainingError
from foreact.policy.inference import InferenceChoices
from foreact.policy.loading import load
from foreact.policy.trained import TrainedFor
from foreact.training.corruption import CorruptionConfig
from foreact.training.disk import check_disk, disk_bytes
from foreact.training.optimization import OptimizationConfig
from foreact.training.recipe import Recipe
from foreact.training.robots import load_training_data
from foreact.training.run import POLICY_FOLDER, STATE_FILE, Progress, train
from foreact.training.step import BatchConfig, Learner

ROBOT = str(Path(__file__).parent / "toy.toml")


@pytest.fixture(scope="module")
def dataset(tiny, tmp_path_factory) -> EpisodeDataset:
    dataset = tiny.dataset(tmp_path_factory.mktemp("dataset") / "d")
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    return dataset


@pytest.fixture(scope="module")
def recipe(tiny) -> Recipe:
    return Recipe(
        embodiment=ROBOT,
        transformer=tiny.sizes(),
        corruption=CorruptionConfig(),
        batch=BatchConfig(global_batch=3, micro_batch=2, max_frames=6, max_chunk=2, window=(2, 4)),
        optimization=OptimizationConfig(num_steps=5, learning_rate=1e-2, warmup_steps=1),
        inference=tiny.inference().choices,
        num_held_out=1,
        save_every=2,
        eval_every=3,
    )


def run(recipe: Recipe, dataset: EpisodeDataset, tiny, folder: Path) -> list[Progress]:
    return list(train(recipe, [dataset], tiny.vae(), folder))


@pytest.fixture(scope="module")
def finished(tiny, recipe, dataset, tmp_path_factory) -> tuple[Path, list[Progress]]:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("run") / "r"
    torch.set_num_threads(1)
    return folder, run(recipe, dataset, tiny, folder)


def assert_same_files(one: Path, other: Path) -> None:
    for name in (STATE_FILE, f"{POLICY_FOLDER}/model.safetensors"):
        mine, theirs = load_file(one / name), load_file(other / name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine), name


def test_a_run_tells_every_step(finished, recipe) -> None:
    _, progress = finished
    assert [p.step for p in progress] == [1, 2, 3, 4, 5]
    assert all(p.num_steps == 5 and np.isfinite(p.loss) for p in progress)
    assert all(p.loss == pytest.approx(p.dynamics + p.inverse) for p in progress)
    assert progress[0].judged == ""
    assert "action_error" in progress[3].judged and "imagination_psnr_db" in progress[3].judged


def test_a_run_leaves_a_policy_that_acts(tiny, finished, recipe) -> None:
    folder, _ = finished
    policy = load(folder / POLICY_FOLDER)
    threshold = policy.config.disagreement_threshold
    assert threshold > 0 and policy.config == replace(recipe.policy_config(), disagreement_threshold=threshold)
    session = policy.start("push it")
    policy.observe_first(session, tiny.images(1), np.array([0.5, 0.4, 0.6], np.float32))
    assert np.isfinite(policy.predict(session).actions).all()
    assert json.loads((folder / "recipe.json").read_text())["batch"]["global_batch"] == 3
    assert list((folder / "tensorboard").iterdir())


def test_the_policy_has_the_averaged_weights_and_the_normalisation(finished, dataset, recipe, tiny) -> None:
    folder, _ = finished
    state, policy = load_file(folder / STATE_FILE), load_file(folder / POLICY_FOLDER / "model.safetensors")
    for name, value in policy.items():
        assert torch.equal(value, state[f"ema.{name}"])
    assert not torch.equal(state["ema.video.embed.weight"], state["model.video.embed.weight"])
    config = json.loads((folder / POLICY_FOLDER / "config.json").read_text())
    data = load_training_data(recipe, [dataset], tiny.vae())
    assert config["actions"] == data.codec.to_dict()
    assert config["provenance"]["steps"] == 5


def test_held_out_episodes_are_judged_and_logged(finished) -> None:
    lines = [json.loads(line) for line in (finished[0] / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 5]
    for line in lines:
        assert line["action_error"] > 0
        assert np.isfinite([line["imagination_psnr_db"], line["last_frame_psnr_db"]]).all()


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_resumed_equals_uninterrupted(tiny, recipe, dataset, finished, tmp_path, one_thread, stop_after: int) -> None:
    """Killed after any step: steps since the last checkpoint are done again, to the last bit."""
    folder, straight = finished
    killed = train(recipe, [dataset], tiny.vae(), tmp_path / "r")
    for _ in range(stop_after):
        next(killed)
    killed.close()
    rest = run(recipe, dataset, tiny, tmp_path / "r")
    assert rest[0].step == stop_after // 2 * 2 + 1
    assert [p.loss for p in rest] == [p.loss for p in straight[rest[0].step - 1 :]]
    assert_same_files(tmp_path / "r", folder)


def test_a_resumed_run_keeps_its_threshold_of_disagreement(tiny, recipe, dataset, tmp_path) -> None:
    def threshold() -> float:
        return json.loads((tmp_path / "r" / POLICY_FOLDER / "config.json").read_text())["inference"][
            "disagreement_threshold"
        ]

    often = replace(recipe, save_every=1)
    running = train(often, [dataset], tiny.vae(), tmp_path / "r")
    for _ in range(3):
        next(running)
    running.close()
    measured = threshold()
    assert measured > 0
    resumed = train(often, [dataset], tiny.vae(), tmp_path / "r")
    assert next(resumed).step == 4  # saved, and not measured anew
    resumed.close()
    assert threshold() == measured


def test_how_fast_the_robot_may_be_driven_is_no_matter_to_a_run(tiny, recipe, dataset, finished) -> None:
    with safe_open(finished[0] / STATE_FILE, framework="pt") as file:
        stored = json.loads(file.metadata()["configuration"])
    assert all(set(dof) == {"name", "unit", "low", "high"} for dof in stored["actions"]["embodiment"]["dofs"])


def test_killed_while_the_last_policy_is_written_the_run_is_not_finished(
    tiny, recipe, dataset, finished, tmp_path, monkeypatch, one_thread
) -> None:
    running = train(recipe, [dataset], tiny.vae(), tmp_path / "r")
    for _ in range(4):
        next(running)
    with monkeypatch.context() as patch:
        patch.setattr("foreact.training.run.save_policy", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            next(running)
    assert [now.step for now in run(recipe, dataset, tiny, tmp_path / "r")] == [5]
    assert_same_files(tmp_path / "r", finished[0])


def test_recomputing_may_begin_when_memory_falls_short(tiny, recipe, dataset, finished, tmp_path, one_thread) -> None:
    """How gradients are come by is no part of what a run is: it goes on to the same weights."""
    killed = train(recipe, [dataset], tiny.vae(), tmp_path / "r")
    next(killed), next(killed)
    killed.close()
    thrifty = replace(recipe, batch=replace(recipe.batch, recompute=True))
    run(thrifty, dataset, tiny, tmp_path / "r")
    assert_same_files(tmp_path / "r", finished[0])
    assert json.loads((tmp_path / "r" / "recipe.json").read_text())["batch"]["recompute"]


def test_a_run_goes_on_with_micro_batches_of_another_size(tiny, recipe, dataset, tmp_path) -> None:
    begun = train(recipe, [dataset], tiny.vae(), tmp_path / "r")
    first = next(begun)
    begun.close()
    other = replace(recipe, batch=replace(recipe.batch, micro_batch=recipe.batch.micro_batch + 1))
    last = run(other, dataset, tiny, tmp_path / "r")[-1]
    assert last.step == recipe.optimization.num_steps > first.step


def test_a_finished_run_has_nothing_to_do(tiny, recipe, dataset, finished, tmp_path) -> None:
    before = (finished[0] / STATE_FILE).read_bytes()
    assert run(recipe, dataset, tiny, finished[0]) == []
    assert (finished[0] / STATE_FILE).read_bytes() == before


def test_an_interrupt_within_a_step_loses_only_that_step(
    tiny, recipe, dataset, finished, tmp_path, monkeypatch, one_thread
) -> None:
    running = train(recipe, [dataset], tiny.vae(), tmp_path / "r")
    next(running), next(running)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            next(running)
    run(recipe, dataset, tiny, tmp_path / "r")
    assert_same_files(tmp_path / "r", finished[0])


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"optimization": OptimizationConfig(num_steps=5, learning_rate=2e-2, warmup_steps=1)},
        {"num_held_out": 2},
        {"num_episodes": 2},
    ],
    ids=["seed", "learning rate", "held out", "episodes"],
)
def test_a_folder_of_another_recipe_is_refused(tiny, recipe, dataset, finished, change: dict) -> None:
    before = {p: p.read_bytes() for p in finished[0].rglob("*") if p.is_file() and "tensorboard" not in str(p)}
    with pytest.raises(CheckpointError, match="of another configuration"):
        run(replace(recipe, **change), dataset, tiny, finished[0])
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_folder_of_other_data_is_refused(tiny, recipe, finished, tmp_path) -> None:
    other = tiny.dataset(tmp_path / "d", lengths=(21, 17))
    list(LatentCache(other, tiny.vae(), tiny.embodiment()).encode_missing())
    with pytest.raises(CheckpointError, match="episodes"):
        run(recipe, other, tiny, finished[0])


def test_a_full_disk_keeps_the_previous_checkpoint(
    tiny, recipe, dataset, finished, tmp_path, monkeypatch, one_thread
) -> None:
    running = train(recipe, [dataset], tiny.vae(), tmp_path / "r")
    next(running), next(running), next(running)
    before = (tmp_path / "r" / STATE_FILE).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match="free some space"):
            next(running)
    assert (tmp_path / "r" / STATE_FILE).read_bytes() == before
    assert load(tmp_path / "r" / POLICY_FOLDER).actions_per_chunk == 8
    run(recipe, dataset, tiny, tmp_path / "r")
    assert_same_files(tmp_path / "r", finished[0])


def test_a_run_that_is_to_stop_saves_first_and_goes_on_to_the_same_weights(
    tiny, recipe, dataset, finished, tmp_path, one_thread
) -> None:
    answers = iter([False, False, True])
    stopped = train(recipe, [dataset], tiny.vae(), tmp_path / "r", should_stop=lambda: next(answers))
    assert [progress.step for progress in stopped] == [1, 2, 3], "saved at step 3, between two checkpoints"
    assert [progress.step for progress in run(recipe, dataset, tiny, tmp_path / "r")] == [4, 5]
    assert_same_files(tmp_path / "r", finished[0])


def test_held_out_episodes_are_never_learned_from(tiny, recipe, dataset) -> None:
    data = load_training_data(recipe, [dataset, dataset], tiny.vae())
    assert [len(source) for source in data.sources] == [3, 3]
    assert [sequence.num_frames for sequence in data.held_out] == [8, 8]
    everything = load_training_data(replace(recipe, num_held_out=0), [dataset], tiny.vae())
    assert [len(everything.sources[0]), len(everything.held_out)] == [4, 0]


def test_the_first_episodes_are_learned_from_as_if_no_others_had_been_recorded(tiny, recipe, dataset, tmp_path) -> None:
    lengths = (21, 17, 30, 26)
    fewer = tiny.dataset(tmp_path / "d", lengths=lengths[:2])
    list(LatentCache(fewer, tiny.vae(), tiny.embodiment()).encode_missing())
    alone = load_training_data(replace(recipe, num_held_out=0), [fewer], tiny.vae())
    first = load_training_data(replace(recipe, num_held_out=0, num_episodes=2), [dataset], tiny.vae())
    assert first.codec.to_dict() == alone.codec.to_dict()
    for mine, theirs in zip(first.sources[0], alone.sources[0], strict=True):
        assert torch.equal(mine.actions, theirs.actions)
        torch.testing.assert_close(mine.latents, theirs.latents)  # encoded twice, perhaps on unlike numbers of threads


def test_the_same_episodes_are_held_out_however_many_are_learned_from(tiny, recipe, dataset) -> None:
    whole = load_training_data(recipe, [dataset], tiny.vae())
    for count in (1, 2, 3):
        some = load_training_data(replace(recipe, num_episodes=count), [dataset], tiny.vae())
        assert len(some.sources[0]) == count
        assert torch.equal(some.held_out[0].latents, whole.held_out[0].latents)
    assert some.codec.to_dict() == whole.codec.to_dict()


def test_more_episodes_than_there_are_are_refused(tiny, recipe, dataset) -> None:
    with pytest.raises(DatasetError, match="4 to train on and 1 to hold out"):
        load_training_data(replace(recipe, num_episodes=4), [dataset], tiny.vae())


def test_a_run_begun_before_a_number_of_episodes_could_be_set_is_resumed(
    tiny, recipe, dataset, finished, tmp_path, one_thread
) -> None:
    killed = train(recipe, [dataset], tiny.vae(), tmp_path / "r")
    next(killed), next(killed)
    killed.close()
    path = tmp_path / "r" / STATE_FILE
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    configuration = json.loads(header["configuration"])
    del configuration["recipe"]["num_episodes"]
    save_file(load_file(path), path, metadata=header | {"configuration": json.dumps(configuration)})
    assert run(recipe, dataset, tiny, tmp_path / "r")[0].step == 3
    assert_same_files(tmp_path / "r", finished[0])


def test_too_few_episodes_are_refused(tiny, recipe, dataset) -> None:
    with pytest.raises(DatasetError, match="held out"):
        load_training_data(replace(recipe, num_held_out=4), [dataset], tiny.vae())


def test_latents_must_be_cached(tiny, recipe, dataset) -> None:
    with pytest.raises(DatasetError, match="foreact encode"):
        load_training_data(recipe, [dataset], tiny.vae(seed=3))


def test_a_reactive_run(tiny, recipe, dataset, tmp_path) -> None:
    reactive = replace(
        recipe,
        batch=replace(recipe.batch, imagines=False),
        optimization=replace(recipe.optimization, num_steps=2),
    )
    progress = run(reactive, dataset, tiny, tmp_path / "r")
    assert [p.dynamics for p in progress] == [0.0, 0.0]
    line = json.loads((tmp_path / "r/log.jsonl").read_text())
    assert "action_error" in line and "imagination_psnr_db" not in line
    assert run(reactive, dataset, tiny, tmp_path / "r") == []


def test_a_recipe_says_once_what_a_network_is_trained_for(recipe) -> None:
    corruption = CorruptionConfig(video_shift=2.0, action_shift=4.0, action_prefix_probability=0.5)
    learned = replace(recipe, corruption=corruption, batch=replace(recipe.batch, imagines=False)).trained
    assert learned == TrainedFor(
        imagines=False, action_prefixes=True, video_shift=2.0, action_shift=4.0, largest_chunk=2
    )
    given = replace(recipe, corruption=CorruptionConfig(forward_dynamics_probability=0.5)).trained
    assert given.forward_dynamics and not given.few_steps
    assert replace(recipe, corruption=CorruptionConfig(action_times=(0.0, 1.0))).trained.few_steps


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"precision": "float16"}, "precision"),
        ({"save_every": 0}, "save_every"),
        ({"eval_every": 0}, "eval_every"),
        ({"num_episodes": 0}, "num_episodes"),
        (
            {"inference": InferenceChoices(latent_frames_per_chunk=3)},
            r"inference\.latent_frames_per_chunk with batch\.max_chunk.*3 with 2",
        ),
        (
            {"corruption": CorruptionConfig(forward_dynamics_probability=0.5), "first_frame": "chunk"},
            r"corruption\.forward_dynamics_probability with batch\.imagines and first_frame.*0\.5 with True and chunk",
        ),
    ],
)
def test_impossible_recipes_are_refused(recipe, change: dict, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        replace(recipe, **change)


def prepared(tiny, root: Path, lengths: tuple[int, ...]) -> EpisodeDataset:
    dataset = tiny.dataset(root, lengths=lengths)
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    return dataset


def test_an_episode_of_one_row_is_passed_over_and_named(tiny, recipe, tmp_path) -> None:
    dataset = prepared(tiny, tmp_path / "d", (21, 1, 17, 19))
    data = load_training_data(recipe, [dataset], tiny.vae())
    assert [sequence.num_frames for sequence in data.sources[0]] == [6, 5]
    assert data.notes == (f"passed over, too short: episode 1 of {dataset.root}",)
    details = run(recipe, dataset, tiny, tmp_path / "run")
    assert details[0].notes[:-1] == data.notes and not any(progress.notes for progress in details[1:])


def test_held_out_episodes_shorter_than_a_chunk_are_said_and_not_judged(tiny, recipe, tmp_path) -> None:
    """A chunk is two latent frames, eight actions; the held-out episode has five rows."""
    dataset = prepared(tiny, tmp_path / "d", (21, 17, 5))
    stored = run(recipe, dataset, tiny, tmp_path / "run")
    assert "nothing to judge by" in stored[0].notes[0]
    assert not (tmp_path / "run/log.jsonl").exists() and all(progress.judged == "" for progress in stored)
    load(tmp_path / "run" / POLICY_FOLDER)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_none_stops_training_and_tears_nothing(
    tiny, recipe, dataset, finished, tmp_path, monkeypatch, one_thread, what: str
) -> None:
    """What was saved before stays, and the run goes on from there once the reason is gone."""
    folder = tmp_path / "run"
    real = TrainingSequence.fill_chunks

    def spoilt(self, frames_per_chunk):
        filled = real(self, frames_per_chunk)
        return replace(filled, latents=filled.latents * float("nan"))

    named = {
        "loss": "loss of step 2; got: not a finite number, of episode",
        "gradient": "gradient of step 2; got: a norm of inf",
    }
    with monkeypatch.context() as patch:
        steps = train(recipe, [dataset], tiny.vae(), folder)
        next(steps), next(steps)
        if what == "loss":
            patch.setattr(TrainingSequence, "fill_chunks", spoilt)
        else:
            patch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("inf")))
        before = {
            path: path.read_bytes() for path in (folder / STATE_FILE, folder / POLICY_FOLDER / "model.safetensors")
        }
        with pytest.raises(TrainingError, match=named[what]):
            next(steps)
    assert before == {path: path.read_bytes() for path in before}
    run(recipe, dataset, tiny, folder)
    assert_same_files(folder, finished[0])


def test_disk_is_told_before_the_first_step_and_is_what_files_take(tiny, recipe, finished) -> None:
    folder, details = finished
    assert "states and policies take at most " in details[0].notes[-1]
    numbers = sum(value.numel() for value in tiny.model().parameters())
    state, policy = (folder / STATE_FILE).stat().st_size, (folder / POLICY_FOLDER / "model.safetensors").stat().st_size
    assert 2 * (state + policy) == pytest.approx(disk_bytes(numbers, numbers, 1), rel=0.15), "headers come on top"
    assert disk_bytes(10, 100, 8) == 3 * 160 + 2 * 400, "several processes keep two states"


def test_a_run_that_would_fill_the_disk_does_not_start(tiny, recipe, dataset, tmp_path, monkeypatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ConfigurationError, match=r"disk of .*; got: 0.00 GB free; allowed: .* for states and policies"):
        run(recipe, dataset, tiny, tmp_path / "r")
    assert not (tmp_path / "r" / STATE_FILE).exists() and not (tmp_path / "r" / POLICY_FOLDER).exists()
    (tmp_path / "r").mkdir(exist_ok=True)
    (tmp_path / "r" / "old").write_bytes(bytes(100_000))
    assert "take at most 0.00 GB" in check_disk(tmp_path / "r", 100_000), "what is there is written over"


def test_a_step_tells_tokens_and_the_time_of_its_batches(finished, tiny) -> None:
    """A step of three sequences of two to eight latent frames; its seconds are this machine's."""
    folder, details = finished
    assert all(step.tokens_per_s > 0 and 0 < step.data_share < 1 for step in details)
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert len(events.Scalars("train/tokens_per_s")) == len(details) == len(events.Scalars("train/data_share"))


def test_tokens_of_a_step_are_counted(tiny, recipe) -> None:
    sampler = SequenceSampler([[tiny.sequence(4)]], max_frames=6, seed=0)
    batch = replace(recipe.batch, max_chunk=1)
    learner = Learner(
        tiny.model(),
        sampler,
        HashedWordEncoder(dim=8),
        batch=batch,
        corruption=recipe.corruption,
        seed=0,
    )
    learner.accumulate_gradients(0)
    tokens, seconds = learner.take_effort()
    assert tokens == 3 * (4 + 3) * 2 * tiny.per_frame, "clean and noisy frames, of video and of actions"
    assert seconds > 0 and learner.take_effort() == (0, 0.0)
