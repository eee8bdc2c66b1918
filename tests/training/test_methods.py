"""Training of a part: adapters next to frozen weights, or the action stream alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import LatentCache
from foreact.errors import CheckpointError, ConfigurationError
from foreact.policy.loading import load
from foreact.training.corruption import CorruptionConfig
from foreact.training.methods import AdapterConfig, base_weights, freeze, frozen_digest, merged_weights, reset_adapters
from foreact.training.optimization import OptimizationConfig, make_optimizer
from foreact.training.ranks import Ranks
from foreact.training.recipe import Recipe
from foreact.training.run import POLICY_FOLDER, STATE_FILE, begin, train
from foreact.training.state import TrainingState
from foreact.training.step import BatchConfig

ROBOT = str(Path(__file__).parent / "toy.toml")
SHARED = {"backbone": "shared", "action_width": 24, "action_ffn_dim": 32, "action_embedding": "linear"}


@pytest.fixture(scope="module")
def dataset(tiny, tmp_path_factory) -> EpisodeDataset:
    dataset = tiny.dataset(tmp_path_factory.mktemp("dataset") / "d")
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    return dataset


@pytest.fixture(scope="module")
def base(tiny, tmp_path_factory) -> Path:
    """A policy to go on from."""
    folder = tmp_path_factory.mktemp("base") / "policy"
    tiny.policy().save_pretrained(folder)
    return folder


def recipe_of(tiny, method: str = "lora", *, num_steps: int = 4, **changes) -> Recipe:
    return Recipe(
        embodiment=ROBOT,
        transformer=tiny.sizes(**changes),
        corruption=CorruptionConfig(),
        batch=BatchConfig(global_batch=3, micro_batch=2, max_frames=6, max_chunk=2, window=(2, 4)),
        optimization=OptimizationConfig(num_steps=num_steps, learning_rate=1e-2, warmup_steps=1),
        inference=tiny.inference().choices,
        method=method,
        adapters=AdapterConfig(rank=3, alpha=6),
        num_held_out=1,
        save_every=2,
        eval_every=9,
    )


def run(tiny, recipe: Recipe, dataset: EpisodeDataset, folder: Path, base: Path) -> list[float]:
    return [progress.loss for progress in train(recipe, [dataset], tiny.vae(), folder, initial=base)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def adapted(tiny, **sizes) -> TrainingState:
    """A state whose adapters are no longer nothing."""
    model = tiny.model(**sizes)
    freeze(model, "lora", AdapterConfig(rank=3, alpha=6))
    reset_adapters(model, 0)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return TrainingState(model, make_optimizer(model, OptimizationConfig()))


def test_the_first_loss_is_the_bases_own_to_the_last_bit(tiny, dataset, base, tmp_path, one_thread) -> None:
    losses = {
        method: run(tiny, recipe_of(tiny, method, num_steps=1), dataset, tmp_path / method, base)[0]
        for method in ("full", "lora", "action")
    }
    assert losses["full"] == losses["lora"] == losses["action"]


def test_adapters_learn_beside_frozen_video_and_a_whole_action_stream(
    tiny, dataset, base, tmp_path, one_thread
) -> None:
    run(tiny, recipe_of(tiny), dataset, tmp_path / "r", base)
    before, after = weights_of(base), weights_of(tmp_path / "r" / POLICY_FOLDER)
    assert before.keys() == after.keys(), "a policy does not show how it was trained"
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    matrices = {name for name in changed if name.startswith("video.")}
    assert "video.blocks.1.ffn_in.weight" in matrices and "video.blocks.0.joint.to_q.weight" in matrices
    assert all(name.endswith(".weight") and "norm" not in name and "blocks" in name for name in matrices)
    assert any(name.startswith("action.blocks") for name in changed)
    for name in matrices:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 3, name


def test_the_action_stream_alone_leaves_the_video_stream_as_it_was(tiny, dataset, base, tmp_path, one_thread) -> None:
    run(tiny, recipe_of(tiny, "action"), dataset, tmp_path / "r", base)
    before, after = weights_of(base), weights_of(tmp_path / "r" / POLICY_FOLDER)
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith("video."), name


@pytest.mark.parametrize("sizes", [{}, SHARED], ids=["separate", "shared"])
def test_merged_adapters_compute_what_they_computed_beside_the_base(tiny, sizes: dict) -> None:
    state = adapted(tiny, **sizes)
    merged = tiny.model(**sizes)
    merged.load_state_dict(merged_weights(state, AdapterConfig(rank=3, alpha=6)))
    outs = []
    for model in (state.model.eval(), merged, tiny.model(**sizes)):
        policy = tiny.policy(networks=replace(tiny.networks(), model=model))
        rollout = policy.predictor.start(
            *(policy.networks.text_encoder.encode([text]) for text in ("push", "")), seed=0
        )
        sequence = tiny.sequence(3)
        policy.predictor.append_observed(rollout, sequence.latents[:, :2], sequence.executed[:2])
        outs.append(policy.predictor.predict(rollout))
    torch.testing.assert_close(outs[0].actions, outs[1].actions, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outs[0].latents, outs[1].latents, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(outs[1].latents, outs[2].latents, atol=1e-2), "the adapters do something"


def test_a_part_is_resumed_as_the_whole_is(tiny, dataset, base, tmp_path, one_thread) -> None:
    run(tiny, recipe_of(tiny), dataset, tmp_path / "straight", base)
    killed = train(recipe_of(tiny), [dataset], tiny.vae(), tmp_path / "r", initial=base)
    for _ in range(3):
        next(killed)
    killed.close()
    run(tiny, recipe_of(tiny), dataset, tmp_path / "r", base)
    one, other = (load_file(tmp_path / name / STATE_FILE) for name in ("straight", "r"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert not any("base_layer" in name or name.startswith("model.video.embed") for name in one), "frozen: not stored"


def test_adapters_are_refused_beside_another_base(tiny, dataset, base, tmp_path, one_thread) -> None:
    run(tiny, recipe_of(tiny), dataset, tmp_path / "r", base)
    other = tmp_path / base.name
    tiny.policy(networks=replace(tiny.networks(), model=tiny.model(seed=5))).save_pretrained(other)
    with pytest.raises(CheckpointError, match=r"another configuration.*frozen: "):
        run(tiny, recipe_of(tiny), dataset, tmp_path / "r", other)
    stored = json.loads((tmp_path / "r" / POLICY_FOLDER / "config.json").read_text())["provenance"]
    assert stored["recipe"]["method"] == "lora" and len(stored["frozen"]) == 16


def test_the_digest_is_of_the_frozen_weights_alone(tiny) -> None:
    state = adapted(tiny)
    before = frozen_digest(state.model)
    with torch.no_grad():
        state.weights["action.embed.weight"].add_(1)
    assert frozen_digest(state.model) == before
    with torch.no_grad():
        base_weights(state.model)["video.embed.weight"].add_(1)
    assert frozen_digest(state.model) != before


def test_an_adapted_policy_is_loaded_as_any_other(tiny, dataset, base, tmp_path, one_thread) -> None:
    run(tiny, recipe_of(tiny), dataset, tmp_path / "r", base)
    assert load(tmp_path / "r" / POLICY_FOLDER).actions_per_chunk == 8


def test_what_cannot_be_is_refused_before_anything_is_read(tiny) -> None:
    with pytest.raises(ConfigurationError, match="no weights to begin with"):
        begin(recipe_of(tiny, "lora"), tiny.vae(), None)
    with pytest.raises(ConfigurationError, match="no layers of their own"):
        begin(recipe_of(tiny, "action", **SHARED), tiny.vae(), Path("nowhere"))
    with pytest.raises(ConfigurationError, match="rank and alpha"):
        AdapterConfig(rank=0)


def in_bfloat16(tiny, **changes) -> Recipe:
    return replace(recipe_of(tiny), precision="bfloat16", **changes)


def test_frozen_matrices_in_bfloat16_change_no_bit_of_a_training(tiny, dataset, base, tmp_path, one_thread) -> None:
    """Autocast rounds them anyway: kept rounded, they take half the memory and give the same losses and gradients."""
    losses = {
        kept: run(tiny, in_bfloat16(tiny, frozen_precision=kept), dataset, tmp_path / kept, base)
        for kept in ("float32", "bfloat16")
    }
    assert losses["float32"] == losses["bfloat16"]
    one, other = (load_file(tmp_path / kept / STATE_FILE) for kept in losses)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    unadapted = replace(in_bfloat16(tiny), method="full")
    assert losses["bfloat16"][0] == run(tiny, unadapted, dataset, tmp_path / "full", base)[0]


def test_only_frozen_matrices_of_layers_are_kept_in_bfloat16(tiny, base, dataset, tmp_path, one_thread) -> None:
    recipe = in_bfloat16(tiny, frozen_precision="bfloat16")
    model = begin(recipe, tiny.vae(), base).model
    rounded = {name for name, value in model.state_dict().items() if value.dtype == torch.bfloat16}
    assert "video.blocks.0.ffn_in.base_layer.weight" in rounded
    assert all(name.startswith("video.blocks.") for name in rounded)
    assert all(value.dtype == torch.float32 for name, value in model.state_dict().items() if "lora_" in name)
    assert not any("norm" in name or "table" in name for name in rounded)
    run(tiny, recipe, dataset, tmp_path / "r", base)
    saved = weights_of(tmp_path / "r" / POLICY_FOLDER)
    assert all(value.dtype == torch.float32 for value in saved.values()), "a policy does not show how it was trained"
    assert load(tmp_path / "r" / POLICY_FOLDER).actions_per_chunk == 8


def test_frozen_weights_in_bfloat16_want_arithmetic_in_bfloat16(tiny) -> None:
    with pytest.raises(ConfigurationError, match="frozen_precision; got: bfloat16; allowed: float32, since"):
        replace(recipe_of(tiny), frozen_precision="bfloat16")


def test_an_average_on_the_cpu_is_the_same_average(tiny, dataset, base, tmp_path, one_thread) -> None:
    run(tiny, recipe_of(tiny), dataset, tmp_path / "device", base)
    run(tiny, replace(recipe_of(tiny), average_on_cpu=True), dataset, tmp_path / "cpu", base)
    one, other = (load_file(tmp_path / where / STATE_FILE) for where in ("device", "cpu"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_average_on_the_cpu_is_for_one_process(tiny, base) -> None:
    with pytest.raises(ConfigurationError, match="average_on_cpu with sharded weights"):
        begin(replace(recipe_of(tiny), average_on_cpu=True), tiny.vae(), base, Ranks(world=2))
