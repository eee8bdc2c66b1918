"""The settings that say how datasets are read, and whose robot they are of."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import foreact
from foreact.commands.datasets import DataOptions, RobotOptions, fit_to_robot, open_vae
from foreact.commands.main import main
from foreact.data.episodes import EpisodeDataset
from foreact.data.latents import fingerprint
from foreact.embodiments import load_embodiment
from foreact.errors import CheckpointError, DatasetError
from foreact.policy.storage.checkpoint import find_policy
from foreact.recipes import get_recipe

WRITTEN = Path(__file__).parents[1] / "golden/lerobot_written/v0.4.4-h264/dataset"
ROBOT = Path(__file__).parents[1] / "golden/lerobot_written/so101.toml"


def test_the_robot_that_is_named_brings_its_cameras() -> None:
    recipe = get_recipe("tiny")
    assert RobotOptions().of(recipe).name == "aloha" and RobotOptions().apply(recipe) is recipe
    robot = RobotOptions(embodiment=str(ROBOT)).of(recipe)
    assert robot.cameras == ("front", "wrist") and robot.timing.action_hz == 15


def test_renames_and_names_that_can_mean_nothing_else(tmp_path, capsys) -> None:
    root = shutil.copytree(WRITTEN, tmp_path / "d")
    robot = load_embodiment(str(ROBOT))
    info = json.loads((root / "meta/info.json").read_text())
    plain = {"observation.images.wrist": "observation.wrist", "observation.images.front": "front"}
    info["features"] = {plain.get(name, name): feature for name, feature in info["features"].items()}
    for old, new in plain.items():
        (root / "videos" / old).rename(root / "videos" / new)
    (root / "meta/info.json").write_text(json.dumps(info))
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    names = table.column_names
    for old, new in plain.items():
        names = [name.replace(f"videos/{old}/", f"videos/{new}/") for name in names]
    pq.write_table(table.rename_columns(names), path)
    (dataset,) = DataOptions().open([root], robot)
    assert dataset.camera_keys == ["observation.images.front", "observation.images.wrist"]
    assert "is taken for the camera" in capsys.readouterr().out
    other = DataOptions(rename=("observation.wrist=front", "front=wrist")).open([root], robot)[0]
    assert other.camera_keys == ["observation.images.wrist", "observation.images.front"]
    assert (
        other.episode(0).frames("observation.images.wrist", [3])
        == dataset.episode(0).frames("observation.images.front", [3])
    ).all()
    with pytest.raises(DatasetError, match="--rename"):
        DataOptions(rename=("nothing=top",)).open([root], robot)


def test_a_robot_of_ones_own_goes_through_encode(tmp_path, capsys) -> None:
    root = shutil.copytree(WRITTEN, tmp_path / "d")
    vae = Path(foreact.__file__).parent / "checkpoints/tiny/vae"
    words = ["--data", str(root), "--vae", str(vae), "--embodiment", str(ROBOT), "--latents", str(tmp_path / "l")]
    main(["encode", *words])
    assert len(list((tmp_path / "l").rglob("episode-*.safetensors"))) == EpisodeDataset(root).num_episodes
    assert "The latents of" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["encode", "--data", str(root), "--vae", str(vae)])  # it is no aloha
    assert "fps" in capsys.readouterr().err


def test_a_robot_of_ones_own_is_trained(tmp_path, capsys) -> None:
    """The network takes its canvas and its actions a frame from the robot; the recipe's are of another one."""
    root = shutil.copytree(WRITTEN, tmp_path / "d")
    vae = Path(foreact.__file__).parent / "checkpoints/tiny/vae"
    words = ["--data", str(root), "--vae", str(vae), "--embodiment", str(ROBOT)]
    main(["encode", *words])
    steps = ["--optimization.num-steps", "2", "--optimization.warmup-steps", "1", "--eval-every", "2"]
    held_out = ["--num-held-out", "1", "--inference.latent-frames-per-chunk", "1"]
    main(["train", *words, "--out", str(tmp_path / "run"), *steps, *held_out])
    assert "step 2 of 2" in capsys.readouterr().out
    policy = foreact.load(tmp_path / "run/policy")
    assert policy.embodiment.name == "so101" and policy.networks.model.config.canvas == (8, 16)
    assert policy.networks.model.config.actions_per_latent_frame == 4


def test_settings_made_by_hand_are_left_as_they_are() -> None:
    named = get_recipe("tiny")
    other = replace(named, embodiment=str(ROBOT), transformer=replace(named.transformer, canvas=(4, 4)))
    assert fit_to_robot(other, named, 8).transformer.canvas == (4, 4)
    assert fit_to_robot(named, named, 8) is named


def test_a_video_vae_is_named_by_its_own_folder_or_by_a_policy(tiny, tmp_path) -> None:
    vae = tiny.vae()
    vae.save(tmp_path / "own")
    folder = find_policy("tiny")
    by_policy = [open_vae(Path("tiny")), open_vae(folder), open_vae(folder / "vae")]
    assert {fingerprint(each) for each in by_policy} == {fingerprint(by_policy[0])}
    assert fingerprint(open_vae(tmp_path / "own")) == fingerprint(vae) != fingerprint(by_policy[0])
    with pytest.raises(CheckpointError, match=r"video VAE nowhere; .*allowed: its folder"):
        open_vae(Path("nowhere"))
