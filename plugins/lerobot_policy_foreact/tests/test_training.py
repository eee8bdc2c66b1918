"""LeRobot's windows become foreact's sequences, and their loss is foreact's own."""

from dataclasses import replace
from pathlib import Path

import foreact
import numpy as np
import pytest
import torch
from foreact.data.batch import SequenceSampler
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import encode_episode
from foreact.data.sequences import make_sequence
from foreact.errors import ConfigurationError, InputError
from foreact.training.corruption import CorruptionConfig
from foreact.training.step import BatchConfig, Learner
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata

from lerobot_policy_foreact import ForeactPolicy
from lerobot_policy_foreact.batches import training_sequences
from robots import CAMERA, LENGTHS

FIELDS = ("latents", "actions", "executed", "action_valid", "frame_valid")


def windows(dataset: EpisodeDataset, plugin, starts: list[tuple[int, int]]) -> dict:
    """What LeRobot's dataset gives under the policy's delta indices, but with foreact's reader of videos."""
    columns: dict[str, list] = {key: [] for key in ("action", "action_is_pad", CAMERA, f"{CAMERA}_is_pad")}
    states, tasks = [], []
    for number, start in starts:
        episode = dataset.episode(number)
        shown, seen_past = episode.clamp(start + np.array(plugin.config.observation_delta_indices))
        rows, past = episode.clamp(start + np.array(plugin.config.action_delta_indices))
        pictures = torch.from_numpy(episode.frames(CAMERA, shown)).permute(0, 3, 1, 2).float() / 255
        values = (torch.from_numpy(episode.column("action")[rows]), torch.from_numpy(past), pictures)
        for key, value in zip(columns, (*values, torch.from_numpy(seen_past)), strict=True):
            columns[key].append(value)
        states.append(torch.from_numpy(episode.column("observation.state")[shown]))
        tasks.append(episode.instruction)
    stacked = {key: torch.stack(values) for key, values in columns.items()}
    return stacked | {"observation.state": torch.stack(states), "task": tasks}


def sequences_of(plugin, batch: dict):
    keys = {"top": CAMERA}
    return training_sequences(batch, vae=plugin.vae, codec=plugin._codec, camera_keys=keys, instruction=None)


def whole_episodes(dataset: EpisodeDataset, policy) -> list:
    """What foreact itself learns from."""
    robot, vae = policy.embodiment, policy.networks.vae
    return [
        make_sequence(e, encode_episode(e, vae, robot.layout, robot.timing), policy.codec, executed_column="action")
        for e in dataset
    ]


@pytest.mark.parametrize("latent_frames", [7, 9])
def test_windows_from_the_first_row_are_foreacts_sequences(make, dataset, policy, latent_frames) -> None:
    plugin = make(latent_frames=latent_frames)
    given = sequences_of(plugin, windows(dataset, plugin, [(n, 0) for n in range(len(LENGTHS))]))
    for sequence, expected in zip(given, whole_episodes(dataset, policy), strict=True):
        assert sequence.instruction == expected.instruction
        assert sequence.num_frames == min(expected.num_frames, latent_frames)
        for name in FIELDS:
            wanted = getattr(expected.crop(0, latent_frames), name)
            torch.testing.assert_close(getattr(sequence, name), wanted, atol=1e-5, rtol=1e-5)
    ended = [bool(sequence.frame_valid.all()) for sequence in given]
    assert not all(ended) and any(ended)  # some reach past their episode's end, and it is told


def test_a_window_from_within_begins_where_the_robot_is(make, dataset, policy) -> None:
    plugin = make(latent_frames=3)
    (sequence,) = sequences_of(plugin, windows(dataset, plugin, [(0, 30)]))
    episode = dataset.episode(0)
    hold = policy.codec.encode(policy.embodiment.hold_action(episode.column("observation.state")[30])[None])
    np.testing.assert_allclose(sequence.actions[0], np.repeat(hold, 16, axis=0), atol=1e-6)
    acted = policy.codec.encode(episode.column("action")[30:62])
    np.testing.assert_allclose(sequence.actions[1:].flatten(0, 1), acted, atol=1e-6)
    assert sequence.action_valid.all() and sequence.frame_valid.all()


@pytest.mark.parametrize("mode", [False, True])
def test_the_loss_is_foreacts_own(make, dataset, mode) -> None:
    chosen = 1.0 if mode else 0.0
    plugin = make(latent_frames=9, seed=11, max_chunk=3, window=(2, 5), forward_dynamics_probability=chosen)
    twin = foreact.load("tiny")
    corruption = CorruptionConfig(
        video_shift=2.0, action_shift=1.0, forward_dynamics_probability=chosen, action_prefix_probability=0.5
    )
    expected = [sequence.crop(0, 9) for sequence in whole_episodes(dataset, twin)]
    learner = Learner(
        twin.networks.model,
        SequenceSampler([expected], max_frames=9, seed=11),
        twin.networks.text_encoder,
        batch=BatchConfig(max_frames=9, max_chunk=3, window=(2, 5)),
        corruption=corruption,
        seed=11,
    )
    batch = windows(dataset, plugin, [(n, 0) for n in range(len(LENGTHS))])
    plugin.train()
    for step in range(2):
        losses = learner.losses(expected, [0, 1, 2], step, forward_dynamics=mode)
        wanted = losses.dynamics + losses.inverse
        per_row, figures = plugin.forward(batch, reduction="none")
        torch.testing.assert_close(per_row, wanted, atol=1e-5, rtol=1e-5)
        loss, _ = plugin.forward(batch)
        torch.testing.assert_close(loss, wanted.mean(), atol=1e-5, rtol=1e-5)
        assert set(figures) == ({"forward_dynamics"} if mode else {"dynamics", "inverse"})
        loss.backward()
        wanted.mean().backward()
        plugin.update()
    ours, theirs = dict(plugin.model.named_parameters()), dict(twin.networks.model.named_parameters())
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in theirs.values())
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name].grad, weight.grad, atol=1e-5, rtol=1e-4, msg=name)
    assert all(weight.grad is None for weight in plugin.vae.parameters())


def test_less_memory_or_precision_and_the_same_loss(make, dataset) -> None:
    losses = {}
    for name, settings in {"plain": {}, "recompute": {"recompute": True}, "bfloat16": {"bfloat16": True}}.items():
        plugin = make(latent_frames=3, **settings)
        loss, _ = plugin.train().forward(windows(dataset, plugin, [(0, 0)]))
        loss.backward()
        losses[name] = loss.item()
    assert losses["recompute"] == losses["plain"] != losses["bfloat16"]
    assert losses["bfloat16"] == pytest.approx(losses["plain"], rel=0.02)


def test_steps_draw_anew_and_evaluation_does_not(make, dataset) -> None:
    plugin = make(latent_frames=3)
    batch = windows(dataset, plugin, [(0, 0), (1, 4)])
    with torch.no_grad():
        held_out = [plugin.forward(batch)[0].item() for _ in range(2) if not plugin.update()]
        plugin.train()
        learned = [plugin.forward(batch)[0].item() for _ in range(3) if not plugin.update()]
    assert held_out[0] == held_out[1]
    assert len(set(learned)) == 3


def test_only_the_network_learns_and_only_matrices_decay(make) -> None:
    plugin = make()
    matrices, vectors = plugin.get_optim_params()
    assert {p.ndim for p in vectors["params"]} == {1} and vectors["weight_decay"] == 0
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(plugin.model.parameters()))
    assert not any(weight.requires_grad for weight in plugin.vae.parameters())


def test_learning_after_acting_in_inference_mode(make, dataset) -> None:
    plugin = make(latent_frames=3)
    batch = windows(dataset, plugin, [(0, 0)])
    with torch.inference_mode():
        plugin.select_action({key: batch[key][:, 0] for key in (CAMERA, "observation.state")} | {"task": batch["task"]})
    plugin.train().forward(batch)[0].backward()


def test_lerobots_own_dataset_gives_such_windows(make, dataset) -> None:
    plugin = make(latent_frames=5)
    meta = LeRobotDatasetMetadata("local/reach", root=dataset.root)
    deltas = resolve_delta_timestamps(plugin.config, meta)
    theirs = LeRobotDataset("local/reach", root=dataset.root, delta_timestamps=deltas, video_backend="pyav")
    starts = [(0, 0), (0, 40), (1, 33), (2, 20)]
    first = np.cumsum([0, *LENGTHS])
    items = [theirs[int(first[number]) + row] for number, row in starts]
    batch = torch.utils.data.default_collate(items)
    assert len({tuple(frame.flatten()[:4000].tolist()) for frame in batch[CAMERA][0]}) > 10  # no frame stands for all
    expected = sequences_of(plugin, windows(dataset, plugin, starts))
    for sequence, wanted in zip(sequences_of(plugin, batch), expected, strict=True):
        for name in FIELDS[1:]:
            torch.testing.assert_close(getattr(sequence, name), getattr(wanted, name))
        assert sequence.instruction == wanted.instruction
        assert (sequence.latents - wanted.latents).abs().mean() < 0.02  # readers of videos round differently


def test_a_saved_policy_is_the_same_to_lerobot_and_to_foreact(make, dataset, tmp_path: Path) -> None:
    plugin = make(latent_frames=3, cameras={"top": CAMERA}, window=(3, 7))
    with torch.no_grad():
        for weight in plugin.model.parameters():
            weight.mul_(1.01)
    plugin.update()
    plugin.save_pretrained(tmp_path / "own")
    plugin.save_pretrained(tmp_path / "gathered", state_dict={k: v.clone() for k, v in plugin.state_dict().items()})
    expected = plugin.model.state_dict()
    for folder in (tmp_path / "own", tmp_path / "gathered"):
        again = ForeactPolicy.from_pretrained(folder)
        for loaded in (again.model, foreact.load(folder / "foreact").networks.model):
            assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
        assert again._step == 1 and not again.training
        assert replace(again.config, pretrained_path=None) == plugin.config
    batch = windows(dataset, plugin, [(0, 0)])
    with torch.no_grad():
        assert again.train().forward(batch)[0] == plugin.train().forward(batch)[0]  # the noise of the next step


def test_what_does_not_fit_is_refused(make, dataset) -> None:
    plugin = make(latent_frames=3)
    batch = windows(dataset, plugin, [(0, 0)])
    with pytest.raises(ConfigurationError, match="mean, none"):
        plugin.forward(batch, reduction="sum")
    with pytest.raises(InputError, match="camera_stride"):
        plugin.forward(batch | {CAMERA: batch[CAMERA][:, 0]})
    with pytest.raises(InputError, match="camera_stride"):
        plugin.forward(batch | {"action": batch["action"][:, :16]})
