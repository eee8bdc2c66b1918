"""From another network's weights to a trained policy: `foreact init`, then training, then acting."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foreact.commands import init
from foreact.data.latents import LatentCache
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.loading import load
from foreact.policy.storage.initial import load_initial
from foreact.shards import TensorFolder
from foreact.training.corruption import CorruptionConfig
from foreact.training.optimization import OptimizationConfig
from foreact.training.recipe import Recipe
from foreact.training.run import POLICY_FOLDER, begin, train
from foreact.training.step import BatchConfig

GOLDEN = Path(__file__).parents[1] / "golden/no_guidance"
ROBOT = Path(__file__).parent / "toy.toml"


@pytest.fixture(scope="module")
def text_dim() -> int:
    return json.loads((GOLDEN / "text_encoder/config.json").read_text())["d_model"]


@pytest.fixture
def recipe(tiny, text_dim: int, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    recipe = Recipe(
        embodiment=str(ROBOT),
        transformer=tiny.sizes(text_dim=text_dim, text_length=24),
        corruption=CorruptionConfig(),
        batch=BatchConfig(global_batch=2, micro_batch=2, max_frames=4, max_chunk=2, window=(2, 4)),
        optimization=OptimizationConfig(num_steps=2, learning_rate=1e-3, warmup_steps=1),
        inference=tiny.inference().choices,
        num_held_out=1,
    )
    monkeypatch.setitem(init.RECIPES, "toy", lambda: recipe)
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent/cache")
    return recipe


@pytest.fixture
def initial(tiny, oracle, recipe: Recipe, tmp_path: Path) -> Path:
    source = tmp_path / "wan"
    oracle.random(recipe.transformer).save_pretrained(source / "transformer")
    tiny.vae().save(source / "vae")
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(GOLDEN / part, source / part)
    init.run(init.Settings(preset="toy", source=str(source), out=tmp_path / "initial", dtype="float32", shard_gb=1.0))
    shutil.rmtree(source)
    return tmp_path / "initial"


@pytest.mark.filterwarnings("ignore:instructions cannot be kept")
def test_training_begins_from_them_and_the_policy_carries_its_text_encoder(
    tiny, recipe: Recipe, initial: Path, tmp_path: Path
) -> None:
    dataset = tiny.dataset(tmp_path / "data", lengths=(17, 21))
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    stored = dict(TensorFolder.open(initial, "model").items())
    begun = begin(recipe, tiny.vae(), initial)
    assert all(torch.equal(value, stored[name]) for name, value in begun.model.state_dict().items())
    list(train(recipe, [dataset], tiny.vae(), tmp_path / "run", initial=initial))
    shutil.rmtree(initial)
    policy = load(tmp_path / "run" / POLICY_FOLDER)
    moved = [n for n, value in policy.networks.model.state_dict().items() if not torch.equal(value, stored[n])]
    assert len(moved) > len(stored) / 2
    actions = []
    for words in ("push it", "pull it"):
        session = policy.start(words)
        policy.observe_first(session, tiny.images(1), np.array([0.5, 0.4, 0.6], np.float32))
        actions.append(policy.predict(session).actions)
    assert np.isfinite(actions).all() and not np.array_equal(*actions)
    details = json.loads((tmp_path / "run" / POLICY_FOLDER / "config.json").read_text())
    assert details["provenance"]["initial"]["preset"] == "toy" and details["text_encoder"] == {"kind": "umt5"}


def test_a_recipe_with_a_large_text_encoder_needs_them(tiny, recipe: Recipe) -> None:
    with pytest.raises(ConfigurationError, match="foreact init"):
        begin(recipe, tiny.vae(), None)


@pytest.mark.parametrize("change", [{"num_layers": 1}, {"action_width": 8}, {"text_length": 12}])
def test_weights_of_another_size_are_refused(recipe: Recipe, initial: Path, change: dict) -> None:
    with pytest.raises(CheckpointError, match=next(iter(change))):
        load_initial(initial, replace(recipe.transformer, **change))


def test_another_canvas_is_no_other_network(recipe: Recipe, initial: Path) -> None:
    assert load_initial(initial, replace(recipe.transformer, canvas=(8, 4))).config.canvas == (8, 4)


def test_a_policy_is_gone_on_from(tiny, tmp_path: Path) -> None:
    """Its weights are where the second run begins; its text encoder is taken, and told of in the new policy."""
    dataset = tiny.dataset(tmp_path / "data", lengths=(17, 21))
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    first = Recipe(
        embodiment=str(ROBOT),
        transformer=tiny.sizes(),
        corruption=CorruptionConfig(),
        batch=BatchConfig(global_batch=2, micro_batch=2, max_frames=4, max_chunk=2, window=(2, 4)),
        optimization=OptimizationConfig(num_steps=2, learning_rate=1e-3, warmup_steps=1),
        inference=tiny.inference().choices,
        num_held_out=1,
    )
    list(train(first, [dataset], tiny.vae(), tmp_path / "first"))
    policy = tmp_path / "first" / POLICY_FOLDER
    second = replace(
        first,
        corruption=CorruptionConfig(forward_dynamics_probability=0.5),
    )
    begun, stored = begin(second, tiny.vae(), policy), dict(TensorFolder.open(policy, "model").items())
    assert all(torch.equal(value, stored[name]) for name, value in begun.model.state_dict().items())
    assert begun.text_encoder == load(policy).networks.text_encoder and begun.text_files is None
    list(train(second, [dataset], tiny.vae(), tmp_path / "second", initial=policy))
    details = json.loads((tmp_path / "second" / POLICY_FOLDER / "config.json").read_text())
    assert details["provenance"]["initial"]["steps"] == 2 and details["trained_for"]["forward_dynamics"]


def test_other_folders_are_refused(recipe: Recipe, initial: Path) -> None:
    path = initial / "config.json"
    details = json.loads(path.read_text())
    for change in ({"format": "foreact-policy-0"}, {"transformer": {"depth": 3}}):
        path.write_text(json.dumps(details | change))
        with pytest.raises(CheckpointError):
            load_initial(initial, recipe.transformer)


@pytest.mark.parametrize(
    ("preset", "shard_gb", "complaint"), [("tiny", 1.0, "trained from scratch"), ("toy", 0.0, "shard_gb")]
)
def test_init_refuses_what_cannot_be(
    recipe: Recipe, tmp_path: Path, preset: str, shard_gb: float, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        init.run(init.Settings(preset=preset, source=str(tmp_path), out=tmp_path / "out", shard_gb=shard_gb))
