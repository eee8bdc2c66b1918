"""`foreact evaluate --data`, as a user types it."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from foreact.commands.evaluate_data import joint_table
from foreact.commands.main import main
from foreact.data.latents import LatentCache
from foreact.evaluation.open_loop import compare_joints
from foreact.policy.loading import load
from foreact.policy.storage.checkpoint import save_policy


@pytest.fixture
def recorded(tiny, tmp_path):
    """Return a dataset that is encoded with the VAE of the policy in tmp_path/policy."""
    dataset = tiny.dataset(tmp_path / "d", lengths=(21, 17, 25))
    policy = tiny.policy()
    save_policy(policy, tmp_path / "policy", provenance={})
    list(LatentCache(dataset, policy.networks.vae, policy.embodiment).encode_missing())
    return dataset


def refused(capsys, *words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, words)])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_recorded_episodes_are_compared_joint_by_joint(recorded, tmp_path, capsys, one_thread) -> None:
    words = ["--policy", tmp_path / "policy", "--data", recorded.root, "--held-out", 1, "--out", tmp_path / "o/r"]
    main(["evaluate", *map(str, words)])
    printed = capsys.readouterr().out
    assert "last 1 episodes" in printed and "repeating the last action" in printed and "shoulder" in printed
    written = json.loads((tmp_path / "o/r/results.json").read_text())
    (result,) = written["datasets"]
    assert written["policy"] == str(tmp_path / "policy")
    assert (result["data"], result["episodes"]) == (str(recorded.root), 1)
    assert result["joints"] == list(compare_joints(load(tmp_path / "policy"), recorded, 1, None))


def test_joint_names_that_look_like_markup_are_printed_as_they_are() -> None:
    text = io.StringIO()
    row = {"joint": "[/arm]", "unit": "[rad]", "policy": 1, "last_action": 2}
    Console(file=text, width=80).print(joint_table([row]))
    assert "[/arm]" in text.getvalue() and "[rad]" in text.getvalue()


def test_baseline_is_the_last_recorded_action_before_each_chunk(recorded, tiny) -> None:
    """Computed anew from the rows on disk. A chunk is two latent frames of four actions; only whole chunks count."""
    episode, size = recorded.episode(2), tiny.chunk * tiny.per_frame
    actions, start = episode.column("action"), episode.column("observation.state")[0]
    before = np.concatenate([start[None], actions])
    errors = [
        np.abs(before[first] - actions[first : first + size]) for first in range(0, len(actions) - size + 1, size)
    ]
    rows = list(compare_joints(tiny.policy(), recorded, 1, None))
    assert [row["unit"] for row in rows] == ["rad", "rad", "opening"]
    np.testing.assert_allclose([row["last_action"] for row in rows], np.concatenate(errors).mean(axis=0), rtol=1e-3)


@pytest.mark.parametrize(
    ("flag", "value"), [("--task", "reach_cube"), ("--env", "aloha/lift_cube"), ("--workers", 2), ("--nudge-cm", 3)]
)
def test_data_excludes_simulation(flag, value, tmp_path, capsys) -> None:
    said = refused(capsys, "--data", tmp_path, flag, value, "--out", tmp_path / "o")
    assert "with --data" in said and "--task or --env for simulated" in said


def test_settings_of_recorded_episodes_need_data(tmp_path, capsys) -> None:
    said = refused(capsys, "--task", "reach_cube", "--held-out", 2, "--out", tmp_path / "o")
    assert "--held-out without --data" in said


def test_no_episode_held_out_is_refused(tmp_path, capsys) -> None:
    said = refused(capsys, "--data", tmp_path, "--held-out", 0, "--out", tmp_path / "o")
    assert "--held-out; got: 0; allowed: 1 or more" in said


def test_dataset_that_is_not_encoded_is_refused(recorded, tiny, tmp_path, capsys) -> None:
    other = tiny.dataset(tmp_path / "bare", lengths=(21,))
    said = refused(capsys, "--policy", tmp_path / "policy", "--data", other.root, "--out", tmp_path / "o")
    assert "foreact encode" in said and not (tmp_path / "o").exists()
