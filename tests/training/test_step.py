from dataclasses import replace

import pytest
import torch

from foreact.codecs.text import HashedWordEncoder
from foreact.data.batch import SequenceSampler, TrainingSequence
from foreact.errors import ConfigurationError
from foreact.training.corruption import CorruptionConfig
from foreact.training.optimization import OptimizationConfig, make_optimizer
from foreact.training.step import BatchConfig, Learner
from foreact.transformer.model import WorldActionModel

BATCH = BatchConfig(global_batch=6, micro_batch=6, max_frames=8, max_chunk=3, window=(2, 5))


def learner_of(
    tiny,
    model: WorldActionModel,
    *,
    batch: BatchConfig = BATCH,
    sequences: list[TrainingSequence] | None = None,
    seed: int = 0,
    corruption: CorruptionConfig | None = None,
    **settings,
) -> Learner:
    lengths = (3, 5, 9, 12, 6, 7)
    sequences = sequences or [tiny.sequence(n, seed=n) for n in lengths]
    return Learner(
        model,
        SequenceSampler([sequences], max_frames=batch.max_frames, seed=seed),
        HashedWordEncoder(dim=8),
        batch=batch,
        corruption=corruption or CorruptionConfig(),
        seed=seed,
        **settings,
    )


def gradients(learner: Learner, model: WorldActionModel, step: int) -> tuple[list[float], torch.Tensor]:
    model.zero_grad(set_to_none=True)
    result = learner.accumulate_gradients(step)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return list(vars(result).values()), torch.cat([g.flatten() for g in grads])


GIVEN = CorruptionConfig(forward_dynamics_probability=0.5, action_prefix_probability=0.5)


@pytest.mark.parametrize("imagines, corruption", [(True, None), (False, None), (True, GIVEN)])
@pytest.mark.parametrize("step", [0, 1])
def test_the_micro_batch_changes_nothing(tiny, step: int, imagines: bool, corruption) -> None:
    """Sequences of all lengths, so that each micro-batch is padded otherwise; where modes mix, cut by them too."""
    model, results = tiny.model(), []
    for micro_batch in (1, 4, 6):
        batch = replace(BATCH, micro_batch=micro_batch, imagines=imagines)
        results.append(gradients(learner_of(tiny, model, batch=batch, corruption=corruption), model, step))
    assert (results[0][0][2] > 0) == (corruption is GIVEN)
    for losses, gradient in results[1:]:
        assert losses == pytest.approx(results[0][0], rel=1e-5, abs=1e-6)
        torch.testing.assert_close(gradient, results[0][1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("imagines", [True, False])
@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_recomputing_changes_nothing_to_the_last_bit(tiny, one_thread, imagines: bool, bfloat16: bool) -> None:
    model, results = tiny.model(num_layers=3), []
    for recompute in (False, True):
        batch = replace(BATCH, global_batch=2, micro_batch=2, imagines=imagines, recompute=recompute)
        sequences = [tiny.sequence(4, seed=1)]
        learner = learner_of(tiny, model, batch=batch, sequences=sequences, bfloat16=bfloat16)
        results.append(gradients(learner, model, 0))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1]) and results[0][1].any()


def test_a_step_is_a_function_of_seed_and_step(tiny, one_thread) -> None:
    model = tiny.model()
    first, again = learner_of(tiny, model), learner_of(tiny, model)
    for step in (5, 0):
        gradients(again, model, step)
    for step in (0, 5):
        losses, gradient = gradients(first, model, step)
        same_losses, same_gradient = gradients(again, model, step)
        assert losses == same_losses and torch.equal(gradient, same_gradient)
    assert gradients(first, model, 1)[0] != gradients(first, model, 2)[0]
    assert gradients(first, model, 1)[0] != gradients(learner_of(tiny, model, seed=1), model, 1)[0]


def test_every_sample_weighs_the_same(tiny) -> None:
    """The gradient is the mean over samples, each by itself a mean over what is valid in it."""
    model = tiny.model()
    learner = learner_of(tiny, model)
    sampler = SequenceSampler([[tiny.sequence(n, seed=n) for n in (3, 5, 9, 12, 6, 7)]], max_frames=8, seed=0)
    singles = []
    for index in range(BATCH.global_batch):
        losses = learner.losses([sampler.draw(2, index)], [index], 2)
        singles.append((losses.dynamics + losses.inverse).item())
    assert gradients(learner, model, 2)[0][0] == pytest.approx(sum(singles) / len(singles), rel=1e-5)


def test_a_sequence_is_in_one_mode_or_the_other(tiny) -> None:
    """Each draws its mode by itself, at the rate asked for; in forward dynamics mode it has that loss alone."""
    model = tiny.model()
    learner = learner_of(tiny, model, corruption=replace(GIVEN, action_prefix_probability=0.0))
    sequence = [tiny.sequence(6)]
    given, policy = (learner.losses(sequence, [0], 0, forward_dynamics=mode) for mode in (True, False))
    assert given.dynamics > 0 and given.inverse == 0
    assert policy.dynamics > 0 and policy.inverse > 0
    drawn = [learner._is_forward_dynamics(step, index) for step in range(200) for index in range(4)]
    assert 0.44 < sum(drawn) / len(drawn) < 0.56
    assert drawn[0:800:4] != drawn[1:800:4]
    batch = replace(BATCH, global_batch=8)
    sums = gradients(learner_of(tiny, model, corruption=GIVEN, batch=batch), model, 3)[0]
    assert sums[0] == pytest.approx(sum(sums[1:])) and min(sums) > 0


def test_lambda_weighs_the_actions(tiny) -> None:
    model, results = tiny.model(), []
    for weight in (0.0, 1.0, 3.0):
        batch = replace(BATCH, inverse_weight=weight)
        results.append(gradients(learner_of(tiny, model, batch=batch), model, 0))
    for losses, _ in results:
        assert losses[1:] == results[0][0][1:]
    assert [losses[0] for losses, _ in results] == pytest.approx(
        [results[0][0][1] + weight * results[0][0][3] for weight in (0, 1, 3)]
    )
    torch.testing.assert_close(results[2][1] - results[0][1], 3 * (results[1][1] - results[0][1]), atol=1e-5, rtol=1e-4)


def test_chunks_and_windows_vary_from_step_to_step(tiny, monkeypatch) -> None:
    import foreact.training.step as step_module

    seen, real = [], step_module.ChunkLayout

    def spy(**settings):
        seen.append((settings["frames_per_chunk"], settings["window"]))
        return real(**settings)

    monkeypatch.setattr(step_module, "ChunkLayout", spy)
    model = tiny.model()
    learner = learner_of(tiny, model, sequences=[tiny.sequence(3)])
    for step in range(40):
        learner.losses([tiny.sequence(3)], [0], step)
    assert {chunk for chunk, _ in seen} == {1, 2, 3}
    assert {window for _, window in seen} == {2, 3, 4, 5}


def test_dropped_instructions_are_not_read(tiny) -> None:
    model, results = tiny.model(), []
    for dropout, words in ((1.0, "push it"), (1.0, "something else"), (0.0, "push it"), (0.0, "something else")):
        sequences = [tiny.sequence(5, instruction=words)]
        corruption = CorruptionConfig(text_dropout=dropout)
        learner = learner_of(tiny, model, sequences=sequences, corruption=corruption)
        results.append(gradients(learner, model, 0)[0])
    assert results[0] == results[1]
    assert results[2] != results[3]


def test_bfloat16_runs_the_network_and_keeps_the_weights(tiny) -> None:
    model = tiny.model()
    exact = gradients(learner_of(tiny, model), model, 0)
    rough = gradients(learner_of(tiny, model, bfloat16=True), model, 0)
    assert rough[0] == pytest.approx(exact[0], rel=0.05) and rough[0] != exact[0]
    assert torch.nn.functional.cosine_similarity(exact[1], rough[1], dim=0) > 0.98
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert rough[1].dtype == torch.float32


def test_one_batch_is_learned_by_heart(tiny, one_thread) -> None:
    """The same step again and again: noise and data repeat, so the target is a function of what is seen."""
    model = tiny.model(video_width=48, action_width=48, video_ffn_dim=128, action_ffn_dim=128)
    batch = BatchConfig(global_batch=2, micro_batch=2, max_frames=3, max_chunk=1, window=(4, 4))
    learner = learner_of(tiny, model, batch=batch, sequences=[tiny.sequence(3, seed=n) for n in range(2)])
    config = OptimizationConfig(num_steps=120, learning_rate=5e-3, warmup_steps=20, weight_decay=0.0)
    optimizer, losses = make_optimizer(model, config), []
    for step in range(config.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate_at(step)
        optimizer.zero_grad(set_to_none=True)
        losses.append(learner.accumulate_gradients(7))
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
    assert losses[0].dynamics > 1 and losses[0].inverse > 1
    assert losses[-1].dynamics < 1e-3 and losses[-1].inverse < 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"global_batch": 0},
        {"micro_batch": 0},
        {"max_chunk": 0},
        {"max_frames": 1},
        {"window": (0, 4)},
        {"window": (5, 4)},
    ],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(change))):
        BatchConfig(**change)
