"""Training of two processes: what one process computes, from weights of which each holds a part."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import SequenceSampler
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.loading import load
from foreact.settings import to_plain
from foreact.training.corruption import CorruptionConfig
from foreact.training.methods import AdapterConfig
from foreact.training.optimization import OptimizationConfig
from foreact.training.ranks import ParallelConfig, Ranks
from foreact.training.recipe import Recipe
from foreact.training.run import POLICY_FOLDER, STATE_FILE, begin, train
from foreact.training.sharded_state import COMPLETE, complete_states, step_of
from foreact.training.sharding import fill, whole
from foreact.training.step import BatchConfig, Learner
from foreact.transformer.model import WorldActionModel

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")
ROBOT = str(Path(__file__).parent / "toy.toml")
SHARED = {"backbone": "shared", "action_width": 24, "action_ffn_dim": 32, "action_embedding": "linear"}
GIVEN = CorruptionConfig(forward_dynamics_probability=0.5, action_prefix_probability=0.5)
CASES = {
    "plain": ({}, {}, None),
    "two modes": ({}, {}, GIVEN),
    "ragged": ({}, {"global_batch": 5, "micro_batch": 2}, GIVEN),
    "recomputed": ({}, {"recompute": True}, None),
    "reactive": ({}, {"imagines": False}, None),
    "shared": (SHARED, {}, None),
    "factorized": ({"action_projection": "factorized"}, {}, None),
}
"""Sizes of the network, of the batch, and what is done to it."""


def recipe_of(tiny, case: str) -> Recipe:
    sizes, batch, corruption = CASES[case]
    settings = {"global_batch": 4, "micro_batch": 1, "max_frames": 8, "max_chunk": 3, "window": (2, 5)}
    return Recipe(
        embodiment=ROBOT,
        transformer=tiny.sizes(**sizes),
        corruption=corruption or CorruptionConfig(),
        batch=BatchConfig(**(settings | batch)),
        optimization=OptimizationConfig(num_steps=4, learning_rate=1e-2, warmup_steps=1),
        inference=tiny.inference().choices,
        num_held_out=1,
        save_every=2,
        eval_every=3,
    )


def gradients(tiny, case: str, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Return the whole gradients of a step, and its losses."""
    recipe = recipe_of(tiny, case)
    model = begin(recipe, tiny.vae(), None, ranks).model
    learner = Learner(
        model,
        SequenceSampler([[tiny.sequence(n, seed=n) for n in (3, 5, 9, 6)]], max_frames=8, seed=0),
        HashedWordEncoder(dim=8),
        batch=recipe.batch,
        corruption=recipe.corruption,
        seed=0,
        ranks=ranks,
    )
    losses = learner.accumulate_gradients(0)
    weights = {name: w for name, w in model.state_dict(keep_vars=True).items() if w.grad is not None}
    found = {name: whole(weight.grad).clone() for name, weight in weights.items()}
    return found | {"losses": torch.tensor(list(vars(losses).values()))}


def process(rank: int, folder: str, tiny, data: Path, world: int) -> None:
    """One of several: gradients of every case, then a training, interrupted and gone on with."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    ranks, dataset = Ranks(rank=rank, world=world), EpisodeDataset(data)
    for case in CASES:
        found = gradients(tiny, case, ranks)
        if rank == 0:
            save_file({name: value.contiguous() for name, value in found.items()}, Path(folder) / f"{case}.safetensors")
    recipe = recipe_of(tiny, "two modes")
    for _ in train(recipe, [dataset], tiny.vae(), Path(folder) / "straight"):
        pass
    interrupted = train(recipe, [dataset], tiny.vae(), Path(folder) / "interrupted")
    for _ in range(3):
        next(interrupted)
    interrupted.close()
    for _ in train(recipe, [dataset], tiny.vae(), Path(folder) / "interrupted"):
        pass
    for name, adapted in (("adapted", adapting(tiny)), ("halved", halved(tiny))):
        for _ in train(adapted, [dataset], tiny.vae(), Path(folder) / name, initial=Path(folder) / "base"):
            pass
    dist.destroy_process_group()


def adapting(tiny) -> Recipe:
    return replace(recipe_of(tiny, "plain"), method="lora", adapters=AdapterConfig(rank=3))


def halved(tiny) -> Recipe:
    """Frozen matrices in bfloat16 lie beside trained weights in float32, in the same sharded layer."""
    return replace(adapting(tiny), precision="bfloat16", frozen_precision="bfloat16")


@pytest.fixture(scope="module")
def dataset(tiny, tmp_path_factory):
    dataset = tiny.dataset(tmp_path_factory.mktemp("dataset") / "d")
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    return dataset


@pytest.fixture(scope="module")
def two(tiny, dataset, tmp_path_factory) -> Path:
    """What two processes left behind."""
    folder = tmp_path_factory.mktemp("two")
    tiny.policy().save_pretrained(folder / "base")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mp.start_processes(process, args=(str(folder), tiny, dataset.root, 2), nprocs=2, start_method="fork")
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_compute_the_gradients_of_one(tiny, two, one_thread, case: str) -> None:
    theirs, mine = load_file(two / f"{case}.safetensors"), gradients(tiny, case, Ranks())
    torch.testing.assert_close(theirs.pop("losses"), mine.pop("losses"), atol=1e-5, rtol=1e-5)
    assert mine.keys() <= theirs.keys()
    scale = float(max(gradient.abs().max() for gradient in mine.values()))
    for name, gradient in mine.items():
        torch.testing.assert_close(theirs[name], gradient, atol=1e-6 * max(scale, 1.0), rtol=1e-5, msg=name)
    assert all(not theirs[name].any() for name in theirs.keys() - mine.keys()), (
        "what has no gradient here has none there"
    )


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / POLICY_FOLDER / "model.safetensors")


def test_two_processes_train_to_the_weights_of_one(tiny, dataset, two, tmp_path, one_thread) -> None:
    list(train(recipe_of(tiny, "two modes"), [dataset], tiny.vae(), tmp_path / "r"))
    mine, theirs = weights_of(tmp_path / "r"), weights_of(two / "straight")
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, atol=2e-4, rtol=1e-3, msg=name)
    assert load(two / "straight" / POLICY_FOLDER).digest() != begin_digest(tiny)


def test_adapters_of_two_processes_are_those_of_one(tiny, dataset, two, tmp_path, one_thread) -> None:
    list(train(adapting(tiny), [dataset], tiny.vae(), tmp_path / "r", initial=two / "base"))
    mine, theirs, base = (
        weights_of(tmp_path / "r"),
        weights_of(two / "adapted"),
        load_file(two / "base/model.safetensors"),
    )
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, atol=2e-4, rtol=1e-3, msg=name)
    assert torch.equal(theirs["video.embed.weight"], base["video.embed.weight"])
    assert not torch.equal(theirs["video.blocks.0.ffn_in.weight"], base["video.blocks.0.ffn_in.weight"])


def test_two_processes_keep_frozen_matrices_in_bfloat16(tiny, dataset, two, tmp_path, one_thread) -> None:
    list(train(halved(tiny), [dataset], tiny.vae(), tmp_path / "r", initial=two / "base"))
    mine, theirs, base = (
        weights_of(tmp_path / "r"),
        weights_of(two / "halved"),
        load_file(two / "base/model.safetensors"),
    )
    moved = "action.blocks.0.ffn_in.weight"
    learned, shared = mine[moved] - base[moved], theirs[moved] - base[moved]
    assert float(torch.nn.functional.cosine_similarity(learned.flatten(), shared.flatten(), dim=0)) > 0.99
    frozen = "video.blocks.0.text_norm.weight"
    assert torch.equal(theirs[frozen], base[frozen]) and torch.equal(
        theirs["video.embed.weight"], mine["video.embed.weight"]
    )


def begin_digest(tiny) -> str:
    model = begin(recipe_of(tiny, "two modes"), tiny.vae(), None).model
    from foreact.codecs.weights import digest_weights

    return digest_weights(model).hexdigest()


def test_resumed_by_as_many_equals_uninterrupted(two) -> None:
    straight, interrupted = weights_of(two / "straight"), weights_of(two / "interrupted")
    assert all(torch.equal(interrupted[name], value) for name, value in straight.items())


def test_logs_and_policies_are_written_once(two) -> None:
    lines = [json.loads(line) for line in (two / "straight" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 4]
    assert len(list((two / "straight" / "tensorboard").iterdir())) == 1
    assert not (two / "straight" / STATE_FILE).exists()


def test_the_latest_two_states_are_kept_and_no_pickle_is_among_them(two) -> None:
    states = complete_states(two / "straight")
    assert [step_of(state) for state in states] == [2, 4]
    files = {path.suffix for state in states for path in state.iterdir()}
    assert files == {".safetensors", ".json"}


def go_on(tiny, dataset, folder: Path, num_steps: int) -> list[int]:
    recipe = recipe_of(tiny, "two modes")
    longer = replace(recipe, optimization=replace(recipe.optimization, num_steps=num_steps))
    stored = json.loads((complete_states(folder)[-1] / COMPLETE).read_text())
    stored["configuration"]["recipe"]["optimization"]["num_steps"] = num_steps
    (complete_states(folder)[-1] / COMPLETE).write_text(json.dumps(stored))
    return [progress.step for progress in train(longer, [dataset], tiny.vae(), folder)]


def test_one_process_goes_on_from_what_two_wrote(tiny, dataset, two, tmp_path, one_thread) -> None:
    import shutil

    shutil.copytree(two / "straight", tmp_path / "r")
    before = weights_of(tmp_path / "r")
    assert go_on(tiny, dataset, tmp_path / "r", 5) == [5]
    after = load_file(tmp_path / "r" / STATE_FILE)
    assert any(not torch.equal(after[f"ema.{name}"], value) for name, value in before.items())


def test_a_state_that_was_not_finished_counts_for_nothing(tiny, dataset, two, tmp_path, one_thread) -> None:
    import shutil

    shutil.copytree(two / "straight", tmp_path / "r")
    (complete_states(tmp_path / "r")[-1] / COMPLETE).unlink()
    recipe = recipe_of(tiny, "two modes")
    assert [progress.step for progress in train(recipe, [dataset], tiny.vae(), tmp_path / "r")] == [3, 4]
    torn = next(complete_states(tmp_path / "r")[-1].glob("*.safetensors"))
    torn.write_bytes(torn.read_bytes()[:200])
    (tmp_path / "r" / STATE_FILE).unlink()
    with pytest.raises(CheckpointError, match="delete this folder"):
        list(train(recipe, [dataset], tiny.vae(), tmp_path / "r"))


def test_what_parallel_says_is_no_other_training(tiny, dataset, two, tmp_path, one_thread) -> None:
    """A state goes on under other numbers of processes; only `parallel` differs."""
    recipe = replace(recipe_of(tiny, "two modes"), parallel=ParallelConfig(shard=8))
    assert list(train(recipe, [dataset], tiny.vae(), two / "straight")) == []
    assert to_plain(recipe)["parallel"] == {"shard": 8}


def test_muon_is_refused_where_weights_are_sharded(tiny) -> None:
    recipe = recipe_of(tiny, "plain")
    muon = replace(recipe.optimization, layer_matrices="muon")
    with pytest.raises(ConfigurationError, match="muon needs whole matrices"):
        begin(replace(recipe, optimization=muon), tiny.vae(), None, Ranks(world=2))


def test_weights_that_are_missing_are_named(tiny) -> None:
    model = WorldActionModel(tiny.sizes())
    weights = dict(model.state_dict(keep_vars=True))
    with pytest.raises(CheckpointError, match=r"missing: video.embed.weight"):
        fill(weights, [(name, value) for name, value in weights.items() if name != "video.embed.weight"], "test")


@pytest.mark.slow
def test_torchrun_trains_with_two_processes(tiny, dataset, tmp_path) -> None:
    """The command, as it is typed: one of the processes speaks, one policy is written."""
    recipe = recipe_of(tiny, "plain")
    tiny.vae().save(tmp_path / "vae")
    settings = {"training": to_plain(recipe)}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    words = ["--standalone", "--nproc-per-node", "2", "-m", "foreact", "train", "--config", tmp_path / "settings.json"]
    words += ["--data", dataset.root, "--vae", tmp_path / "vae", "--out", tmp_path / "r", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *map(str, words)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("step 4 of 4") == 1
    assert load(tmp_path / "r" / POLICY_FOLDER).actions_per_chunk == 8


@pytest.mark.slow
def test_sigterm_saves_and_the_command_goes_on(tiny, dataset, tmp_path) -> None:
    """What a cluster does before it takes a machine away."""
    recipe = recipe_of(tiny, "plain")
    longer = replace(recipe, optimization=replace(recipe.optimization, num_steps=100_000), save_every=100_000)
    tiny.vae().save(tmp_path / "vae")
    (tmp_path / "settings.json").write_text(json.dumps({"training": to_plain(longer)}))
    words = ["-m", "foreact", "train", "--config", tmp_path / "settings.json", "--data", dataset.root]
    words += ["--vae", tmp_path / "vae", "--out", tmp_path / "r", "--threads", "1"]
    running = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert any("step 1 of" in line for line in running.stdout)
    running.terminate()
    said = running.stdout.read()
    assert running.wait(60) == 143 and "repeat the command" in " ".join(said.split())
    assert (tmp_path / "r" / STATE_FILE).exists() and load(tmp_path / "r" / POLICY_FOLDER)
