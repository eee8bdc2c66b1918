"""Training by one, two and four processes, and in two groups of two; states that another number of processes loads."""

import hashlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.utils.tensorboard
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import SequenceSampler
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.settings import read_json
from foreact.training.corruption import CorruptionConfig
from foreact.training.methods import AdapterConfig
from foreact.training.optimization import OptimizationConfig, make_optimizer
from foreact.training.ranks import ParallelConfig, Ranks
from foreact.training.recipe import Recipe
from foreact.training.run import POLICY_FOLDER, begin, train
from foreact.training.sharded_state import COMPLETE, complete_states, load_sharded
from foreact.training.sharding import whole
from foreact.training.state import TrainingState
from foreact.training.step import BatchConfig, Learner

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")
ROBOT = str(Path(__file__).parent / "toy.toml")
MIXED = CorruptionConfig(forward_dynamics_probability=0.5, action_prefix_probability=0.5)
CASES = ("plain", "two modes, ragged, recomputed", "factorized", "two groups", "adapters")
WORLDS = (2, 4)
LAYERS = 2


def recipe_of(tiny, case: str = "plain", *, num_steps: int = 3) -> Recipe:
    mixed, sizes = "two modes" in case, {"num_layers": LAYERS}
    if case == "factorized":
        sizes |= {"action_projection": "factorized"}
    recipe = Recipe(
        embodiment=ROBOT,
        transformer=tiny.sizes(**sizes),
        corruption=MIXED if mixed else CorruptionConfig(),
        batch=BatchConfig(
            global_batch=7 if mixed else 4,
            micro_batch=2 if mixed else 1,
            max_frames=8,
            max_chunk=3,
            window=(2, 5),
            recompute=mixed,
        ),
        optimization=OptimizationConfig(num_steps=num_steps, learning_rate=1e-2, warmup_steps=1),
        inference=tiny.inference().choices,
        num_held_out=1,
        save_every=1,
        eval_every=100,
    )
    if case == "two groups":
        recipe = replace(recipe, parallel=ParallelConfig(shard=2))
    return replace(recipe, method="lora", adapters=AdapterConfig(rank=3)) if case == "adapters" else recipe


def learner_of(tiny, recipe: Recipe, ranks: Ranks, initial: Path | None) -> tuple[torch.nn.Module, Learner]:
    model = begin(recipe, tiny.vae(), initial, ranks).model
    return model, Learner(
        model,
        # One robot has long episodes and the other short ones: the two datasets of a mixture.
        SequenceSampler(
            [[tiny.sequence(n, seed=n) for n in (3, 5)], [tiny.sequence(n, seed=n) for n in (9, 6, 4)]],
            max_frames=8,
            seed=0,
        ),
        HashedWordEncoder(dim=8),
        batch=recipe.batch,
        corruption=recipe.corruption,
        seed=0,
        ranks=ranks,
    )


def gradients(tiny, case: str, ranks: Ranks, base: Path) -> dict[str, torch.Tensor]:
    """Return the whole gradients of a step by name, and its losses."""
    model, learner = learner_of(tiny, recipe_of(tiny, case), ranks, base if case == "adapters" else None)
    losses = learner.accumulate_gradients(0)
    weights = {name: w for name, w in model.state_dict(keep_vars=True).items() if w.grad is not None}
    found = {name: whole(weight.grad).clone().contiguous() for name, weight in weights.items()}
    return found | {"losses": torch.tensor(list(vars(losses).values()))}


class Messages(TorchDispatchMode):
    """Names of all operations in which processes exchange tensors while active."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "c10d" in str(func):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def count_gathers(tiny, ranks: Ranks) -> dict[str, int]:
    """Return how often weights were gathered and gradients summed in a step of two micro-batches a process."""
    recipe = recipe_of(tiny)
    recipe = replace(recipe, batch=replace(recipe.batch, global_batch=2 * ranks.world))
    _, learner = learner_of(tiny, recipe, ranks, None)
    learner.accumulate_gradients(0)  # what is done once only
    with Messages() as messages:
        learner.accumulate_gradients(1)
    return {
        kind: sum(word in name for name in messages.names)
        for kind, word in (("gathers", "allgather"), ("sums", "reduce_scatter"))
    }


def digest_of_state(tiny, saved: Path, ranks: Ranks) -> str:
    """Return a digest of all weights, averages and moments of a state, loaded by these processes."""
    recipe = recipe_of(tiny)
    model = begin(recipe, tiny.vae(), None, ranks).model
    state = TrainingState(model, make_optimizer(model, recipe.optimization))
    load_sharded(state, saved, read_json(saved / COMPLETE)["configuration"], ranks)
    digest = hashlib.blake2b(str(state.step).encode(), digest_size=8)
    for name, weight in sorted(state.weights.items()):
        remembered = state.optimizer.state_of(weight)
        for value in (weight.detach(), state.ema[name], remembered["exp_avg"], remembered["exp_avg_sq"]):
            digest.update(whole(value).contiguous().numpy().tobytes())
    return digest.hexdigest()


def start(work: Callable, world: int, *arguments: object) -> None:
    """Run a function as each of so many processes; raises if one of them fails."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mp.start_processes(work, args=(world, *arguments), nprocs=world, start_method="fork")


def meet(rank: int, world: int, folder: Path, name: str) -> Ranks:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting-{name}", rank=rank, world_size=world)
    return Ranks(rank=rank, world=world)


def compute(rank: int, world: int, folder: Path, tiny, data: Path) -> None:
    """As one of several processes: gradients of every case, counts, a training, and the state of two loaded."""
    ranks = meet(rank, world, folder, f"compute-{world}")
    for case in CASES:
        found = gradients(tiny, case, ranks, folder / "base")
        if rank == 0:
            save_file(found, folder / f"{case}-{world}.safetensors")
    stored: dict[str, object] = {"counts": count_gathers(tiny, ranks)}
    if world == 2:
        for _ in train(recipe_of(tiny), [EpisodeDataset(data)], tiny.vae(), folder / "trained"):
            pass
    stored["digest"] = digest_of_state(tiny, complete_states(folder / "trained")[-1], ranks)
    if rank == 0:
        (folder / f"told-{world}.json").write_text(json.dumps(stored))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def dataset(tiny, tmp_path_factory) -> EpisodeDataset:
    dataset = tiny.dataset(tmp_path_factory.mktemp("dataset") / "d")
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    return dataset


@pytest.fixture(scope="module")
def worlds(tiny, dataset, tmp_path_factory) -> Path:
    """What two and four processes left behind."""
    folder = tmp_path_factory.mktemp("worlds")
    tiny.policy().save_pretrained(folder / "base")
    for world in WORLDS:
        start(compute, world, folder, tiny, dataset.root)
    return folder


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_one_process(tiny, worlds, one_thread, case: str, world: int) -> None:
    theirs, mine = load_file(worlds / f"{case}-{world}.safetensors"), gradients(tiny, case, Ranks(), worlds / "base")
    torch.testing.assert_close(theirs.pop("losses"), mine.pop("losses"), atol=1e-5, rtol=1e-5)
    scale = max(1.0, *(float(gradient.abs().max()) for gradient in mine.values()))
    assert mine.keys() <= theirs.keys() and mine
    for name, gradient in mine.items():
        torch.testing.assert_close(theirs[name], gradient, atol=1e-6 * scale, rtol=1e-5, msg=name)


@pytest.mark.parametrize("world", WORLDS)
def test_a_micro_batch_gathers_every_layer_at_most_twice(worlds, world: int) -> None:
    """Forward and backward, for each layer and for what is outside of the layers."""
    counts = json.loads((worlds / f"told-{world}.json").read_text())["counts"]
    assert 2 * LAYERS <= counts["gathers"] <= 2 * 2 * (LAYERS + 1)
    assert 0 < counts["sums"] <= 2 * (LAYERS + 1)


def test_a_state_of_two_processes_is_loaded_by_any_number_bit_by_bit(tiny, worlds, one_thread) -> None:
    saved = complete_states(worlds / "trained")[-1]
    digests = {world: json.loads((worlds / f"told-{world}.json").read_text())["digest"] for world in WORLDS}
    digests[1] = digest_of_state(tiny, saved, Ranks())
    assert len(set(digests.values())) == 1, digests
    earlier = complete_states(worlds / "trained")[0]
    assert digest_of_state(tiny, earlier, Ranks()) != digests[1], "the digest tells states apart"


def die_within(seconds: float) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


def train_and_die(
    rank: int, world: int, folder: Path, tiny, data: Path, attempt: int, victim: int, step: int, delay: float
) -> None:
    """Train; the victim kills itself a moment after a step, be it at work or writing the state."""
    meet(rank, world, folder, f"attempt-{attempt}")
    steps = train(recipe_of(tiny, num_steps=8), [EpisodeDataset(data)], tiny.vae(), folder / "killed")
    for done, _ in enumerate(steps, start=1):
        if rank == victim and done == step:
            die_within(delay)
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_that_are_killed_at_any_time_end_on_the_same_weights(tiny, dataset, tmp_path) -> None:
    """Ten times one of two processes dies at a random time; the command repeated ends where no interruption ends."""
    start(train_and_die, 2, tmp_path, tiny, dataset.root, 0, -1, 0, 0.0)
    shutil.move(tmp_path / "killed", tmp_path / "straight")
    rng, deaths, attempt = np.random.default_rng(0), 0, 0
    while deaths < 10:
        attempt += 1
        victim, step, delay = int(rng.integers(2)), int(rng.integers(1, 3)), float(rng.uniform(0, 0.4))
        try:
            start(train_and_die, 2, tmp_path, tiny, dataset.root, attempt, victim, step, delay)
        except (mp.ProcessExitedException, mp.ProcessRaisedException):
            deaths += 1  # the victim itself, or the other one, which finds that it is alone
            continue
        shutil.rmtree(tmp_path / "killed")  # it was quicker than its death: once more from the beginning
    start(train_and_die, 2, tmp_path, tiny, dataset.root, attempt + 1, -1, 0, 0.0)
    one, other = (load_file(tmp_path / name / POLICY_FOLDER / "model.safetensors") for name in ("straight", "killed"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert not [path for path in (tmp_path / "killed").rglob("*") if path.suffix in (".pt", ".pkl", ".metadata")]
