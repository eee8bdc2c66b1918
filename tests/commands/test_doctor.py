"""`foreact doctor` and `foreact embodiment`, as a user types them."""

import json
import shutil
from pathlib import Path

import pytest

from foreact.commands.main import main
from foreact.data.latents import LatentCache
from foreact.embodiments import load_embodiment
from foreact.policy.storage.checkpoint import save_policy

WRITTEN = Path(__file__).parents[1] / "golden/lerobot_written/v0.4.4-av1/dataset"


def test_the_doctor_says_what_is_there_and_writes_a_page(tmp_path, capsys) -> None:
    main(["doctor", str(WRITTEN), "--out", str(tmp_path / "page.html")])
    out = capsys.readouterr().out
    assert "28 rows at 15 Hz" in out and "0 errors" in out and "foreact embodiment" in out
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64") == 6 and "so101_follower" in page


def test_what_training_refuses_is_an_error_and_an_exit_status(tmp_path, capsys) -> None:
    root = shutil.copytree(WRITTEN, tmp_path / "d")
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"fps": 30}))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(root), "--json"])
    stored = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert "got: 15 Hz; allowed: 30 Hz" in stored["findings"][0]["what"]


def test_a_robot_is_proposed_and_fits_the_dataset(tmp_path, capsys) -> None:
    words = ["embodiment", str(WRITTEN), "--out", str(tmp_path / "r/robot.toml"), "--height", "64", "--width", "64"]
    main(words)
    robot = load_embodiment(tmp_path / "r/robot.toml")
    assert (robot.num_dofs, robot.cameras, robot.timing.action_hz) == (6, ("front", "wrist"), 15.0)
    assert "check:" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(words)
    assert "--force" in capsys.readouterr().err
    main([*words, "--force"])
    main(["doctor", str(WRITTEN), "--embodiment", str(tmp_path / "r/robot.toml")])
    assert "largest difference" in capsys.readouterr().out


def test_a_policy_is_compared_joint_by_joint(tiny, tmp_path, capsys) -> None:
    dataset = tiny.dataset(tmp_path / "d", lengths=(21, 17))
    policy = tiny.policy()
    save_policy(policy, tmp_path / "policy", provenance={})
    list(LatentCache(dataset, policy.networks.vae, policy.embodiment).encode_missing())
    main(["doctor", str(dataset.root), "--policy", str(tmp_path / "policy"), "--json"])
    stored = json.loads(capsys.readouterr().out)
    assert [row["joint"] for row in stored["open_loop"]] == ["shoulder", "elbow", "gripper"]
    assert all(row["policy"] > 0 and row["last_action"] > 0 for row in stored["open_loop"])
    main(["doctor", str(dataset.root), "--policy", str(tmp_path / "policy"), "--out", str(tmp_path / "page.html")])
    assert "repeating the last action" in capsys.readouterr().out
    assert "repeating the last action" in (tmp_path / "page.html").read_text()


def test_a_policy_whose_chunks_are_longer_than_all_episodes(tiny, tmp_path, capsys) -> None:
    dataset = tiny.dataset(tmp_path / "d", lengths=(5, 5))
    policy = tiny.policy()
    save_policy(policy, tmp_path / "policy", provenance={})
    list(LatentCache(dataset, policy.networks.vae, policy.embodiment).encode_missing())
    with pytest.raises(SystemExit):
        main(["doctor", str(dataset.root), "--policy", str(tmp_path / "policy")])
    assert "none as long as one of its chunks" in capsys.readouterr().err
