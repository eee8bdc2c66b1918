"""Consistency distillation: what the student is to learn is where the teacher's solver leads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from foreact.commands.main import main
from foreact.data.batch import collate
from foreact.data.latents import LatentCache
from foreact.errors import CheckpointError, ConfigurationError
from foreact.flow.solver import integrate
from foreact.policy.loading import load
from foreact.policy.schedules import apply_schedule
from foreact.training.corruption import CorruptedBatch, CorruptionConfig, corrupt
from foreact.training.distillation import (
    ConsistencyTargets,
    DistillationConfig,
    distill,
    distillation_recipe,
    distilled_settings,
)
from foreact.training.run import POLICY_FOLDER, STATE_FILE, Progress
from foreact.transformer.masks import ChunkLayout

CONFIG = DistillationConfig(
    num_steps=4, global_batch=3, micro_batch=2, max_frames=6, num_held_out=1, save_every=2, eval_every=3
)


def noised(tiny, policy, *, num_chunks: int = 1, at_noise: bool = True, **given) -> tuple[CorruptedBatch, ChunkLayout]:
    """One recorded sequence, its history clean; its chunks at the beginning of the solver's way, if asked for."""
    config, chunk = policy.config, policy.config.latent_frames_per_chunk
    corruption = CorruptionConfig(
        video_times=tuple(config.video_times),
        action_times=tuple(config.action_times),
        noisy_history_probability=0.0,
        text_dropout=0.0,
        **given,
    )
    if at_noise:
        corruption = replace(corruption, video_times=(0.0, 1.0), action_times=(0.0, 1.0))
    layout = ChunkLayout(num_frames=1 + num_chunks * chunk, frames_per_chunk=chunk, window=config.window)
    batch = collate([tiny.sequence(layout.num_frames, seed=3)])
    made = corrupt(batch, layout, corruption, [torch.Generator().manual_seed(7)], max_frames=20)
    return made, layout


def targets_of(policy, averaged=None) -> ConsistencyTargets:
    model = policy.networks.model
    return ConsistencyTargets(model, averaged or model, policy.networks.text_encoder, policy.config)


def text_of(policy, instruction: str = "push it"):
    embedding = policy.networks.text_encoder.encode([instruction])
    return policy.networks.model.prepare_text(embedding.tokens, embedding.lengths)


GUIDED = {"video_guidance": 3.0, "video_steps": 1}
"""Of the guided teacher's last step; how it got there is for the student's average to say."""


@pytest.mark.parametrize("settings", [{}, {"s_stop": 0.6}, GUIDED], ids=str)
def test_from_noise_the_target_leads_where_cached_inference_goes(tiny, monkeypatch, settings: dict) -> None:
    """The teacher's steps, taken by the predictor over its cache, end where one step along the target ends."""
    policy = tiny.policy(**{"video_steps": 2, "action_steps": 2, "video_shift": 2.0, **settings})
    corrupted, layout = noised(tiny, policy)
    sequence = tiny.sequence(layout.num_frames, seed=3)
    target = targets_of(policy)(corrupted, text_of(policy), layout).video.velocity

    encode = policy.networks.text_encoder.encode
    rollout = policy.predictor.start(encode(["push it"]), encode([""]), seed=0)
    policy.predictor.append_observed(rollout, sequence.latents[:, :1], sequence.executed[:1])
    noise = corrupted.video.noisy.transpose(1, 2)
    monkeypatch.setattr(policy.predictor, "_noise", lambda kind, shape, _: _tokens(policy, noise, kind, shape))
    ends = []
    monkeypatch.setattr("foreact.policy.predictor.integrate", lambda *args: ends.append(integrate(*args)) or ends[-1])
    policy.predictor.predict(rollout)
    end = _tokens(policy, noise + policy.config.s_stop * target.transpose(1, 2), "video", ends[0].shape)
    torch.testing.assert_close(ends[0], end, atol=2e-5, rtol=1e-4)


def _tokens(policy, latents: torch.Tensor, kind: str, shape) -> torch.Tensor:
    from foreact.transformer.tokens import patchify

    if kind == "action":
        return torch.zeros(shape)
    return patchify(latents, policy.networks.model.config.patch_size).reshape(shape)


def test_a_teacher_of_one_step_is_what_the_student_learns(tiny) -> None:
    policy = tiny.policy(video_steps=1, action_steps=1)
    corrupted, layout = noised(tiny, policy, num_chunks=2)
    other = tiny.model(seed=9)
    taught = targets_of(policy, other)(corrupted, text_of(policy), layout)
    same = targets_of(policy)(corrupted, text_of(policy), layout)
    assert torch.equal(taught.video.velocity, same.video.velocity), "the average is not asked where one step is the way"
    assert not torch.equal(taught.video.velocity, corrupted.video.velocity)


def test_the_average_says_how_it_goes_on_after_the_first_step(tiny) -> None:
    policy = tiny.policy(video_steps=4, action_steps=3)
    corrupted, layout = noised(tiny, policy)
    mine, others = (
        targets_of(policy, averaged)(corrupted, text_of(policy), layout) for averaged in (None, tiny.model(seed=9))
    )
    for stream in ("video", "action"):
        assert not torch.allclose(getattr(mine, stream).velocity, getattr(others, stream).velocity)
        assert torch.equal(getattr(mine, stream).noisy, getattr(corrupted, stream).noisy), "the student starts there"


def test_given_actions_and_channels_that_the_robot_lacks_are_left_alone(tiny) -> None:
    policy = tiny.policy(video_steps=3, action_steps=3)
    corrupted, layout = noised(tiny, policy, num_chunks=3, at_noise=False, action_prefix_probability=1.0)
    assert corrupted.action_given.any()
    made = targets_of(policy)(corrupted, text_of(policy), layout)
    given = made.action.velocity[corrupted.action_given]
    assert torch.isfinite(made.action.velocity).all() and given.shape[0] > 0
    lacking = ~torch.from_numpy(policy.codec.mask.copy())
    assert not made.action.velocity[..., lacking].any()
    assert made.action.velocity[~corrupted.action_given].any()


def test_flow_times_are_those_of_the_solver(tiny) -> None:
    policy = tiny.policy(video_steps=3, action_steps=5, video_shift=2.0)
    corrupted, _ = noised(tiny, policy, num_chunks=6, at_noise=False)
    for stream, times in ((corrupted.video, policy.config.video_times), (corrupted.action, policy.config.action_times)):
        drawn = stream.noisy_time.flatten().tolist()
        assert all(min(abs(time - visited) for visited in times[:-1]) < 1e-6 for time in drawn)
        assert len(set(drawn)) > 1


@pytest.mark.parametrize("times", [(0.5, 1.0), (0.0,), (0.0, 0.6, 0.4), (0.0, 1.2)])
def test_flow_times_that_no_solver_visits_are_refused(times: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError, match="rise from 0 to at most 1"):
        CorruptionConfig(video_times=times)


@pytest.fixture(scope="module")
def dataset(tiny, tmp_path_factory):
    dataset = tiny.dataset(tmp_path_factory.mktemp("dataset") / "d")
    list(LatentCache(dataset, tiny.vae(), tiny.embodiment()).encode_missing())
    return dataset


def run(tiny, policy, dataset, folder: Path, **changes) -> list[Progress]:
    return list(distill(policy, "teacher", [dataset], folder, replace(CONFIG, **changes)))


@pytest.fixture(scope="module")
def finished(tiny, dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "r"
    torch.set_num_threads(1)
    run(tiny, tiny.policy(video_steps=4, action_steps=3), dataset, folder)
    return folder


def test_a_distilled_policy_is_a_policy_that_says_what_it_came_from(tiny, finished, one_thread) -> None:
    teacher, student = tiny.policy(video_steps=4, action_steps=3), load(finished / POLICY_FOLDER)
    assert (student.config.video_steps, student.config.action_steps, student.config.trained.few_steps) == (2, 1, True)
    assert student.codec.to_dict() == teacher.codec.to_dict()
    stored = json.loads((finished / POLICY_FOLDER / "config.json").read_text())["provenance"]["initial"]
    assert stored == {"distilled_from": "teacher", "weights": teacher.digest()} and student.digest() != teacher.digest()
    session = apply_schedule(student, "one").start("push it")
    apply_schedule(student, "one").observe_first(session, tiny.images(1), np.array([0.5, 0.4, 0.6], np.float32))
    assert np.isfinite(apply_schedule(student, "one").predict(session).actions).all()


def test_the_teacher_is_not_changed(tiny, dataset, tmp_path, one_thread) -> None:
    teacher = tiny.policy(video_steps=2)
    before = teacher.digest()
    run(tiny, teacher, dataset, tmp_path / "r", num_steps=2)
    assert teacher.digest() == before


@pytest.mark.parametrize("stop_after", [1, 3])
def test_resumed_equals_uninterrupted(tiny, dataset, finished, tmp_path, one_thread, stop_after: int) -> None:
    teacher = tiny.policy(video_steps=4, action_steps=3)
    killed = distill(teacher, "teacher", [dataset], tmp_path / "r", CONFIG)
    for _ in range(stop_after):
        next(killed)
    killed.close()
    run(tiny, teacher, dataset, tmp_path / "r")
    for name in (STATE_FILE, f"{POLICY_FOLDER}/model.safetensors"):
        mine, theirs = load_file(tmp_path / "r" / name), load_file(finished / name)
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine), name


def test_another_teacher_does_not_go_on_with_a_run(tiny, dataset, finished) -> None:
    other = tiny.policy(networks=tiny.networks(num_layers=2), video_steps=3, action_steps=3)
    with pytest.raises(CheckpointError, match="another configuration"):
        run(tiny, other, dataset, finished)


def test_a_reactive_policy_is_distilled_too(tiny, dataset, tmp_path, one_thread) -> None:
    run(tiny, tiny.policy(imagines=False, action_steps=4), dataset, tmp_path / "r", num_steps=2)
    config = load(tmp_path / "r" / POLICY_FOLDER).config
    assert (config.trained.imagines, config.action_steps, config.trained.few_steps) == (False, 1, True)


def test_what_a_policy_can_do_is_practised_on(tiny) -> None:
    policy = tiny.policy(forward_dynamics=True, action_prefixes=True)
    corruption = distillation_recipe(policy, CONFIG).corruption
    assert corruption.forward_dynamics_probability > 0 and corruption.action_prefix_probability > 0
    plain = distillation_recipe(tiny.policy(), CONFIG).corruption
    assert plain.forward_dynamics_probability == plain.action_prefix_probability == 0


def test_guidance_is_inside_the_student(tiny) -> None:
    config = distilled_settings(tiny.inference(video_guidance=5.0, action_guidance=2.0, s_stop=0.6))
    assert (config.video_guidance, config.action_guidance, config.s_stop, config.rows) == (1, 1, 0.6, 1)


def test_policies_that_cannot_be_taught_are_refused(tiny, dataset, tmp_path) -> None:
    published = tiny.policy(first_frame="chunk")
    with pytest.raises(ConfigurationError, match="first frame stands in the first chunk"):
        run(tiny, published, dataset, tmp_path / "r")
    halved = tiny.policy(networks=replace(tiny.networks(), model=tiny.model().to(torch.bfloat16)))
    with pytest.raises(ConfigurationError, match=r"bfloat16; allowed: float32"):
        run(tiny, halved, dataset, tmp_path / "r")
    with pytest.raises(ConfigurationError, match="num_steps"):
        DistillationConfig(num_steps=0)


def test_the_command_distils_and_says_what_to_do_next(tiny, dataset, tmp_path, capsys, one_thread) -> None:
    tiny.policy(video_steps=3, action_steps=2).save_pretrained(tmp_path / "teacher")
    words = ["distill", "--policy", tmp_path / "teacher", "--data", dataset.root, "--out", tmp_path / "r"]
    main([str(word) for word in [*words, "--num-steps", 2, "--num-held-out", 1, "--threads", 1]])
    said = " ".join(capsys.readouterr().out.split())
    assert "From 3 video steps to s = 1, guidance 1; 2 action steps to 2 video steps" in said
    assert "step 2 of 2" in said and "foreact evaluate" in said
    assert load(tmp_path / "r" / POLICY_FOLDER).config.trained.few_steps
