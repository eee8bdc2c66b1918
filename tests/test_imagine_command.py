"""`foreact imagine`: a film and actions from a still picture, and how it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreact.commands import imagine as command
from foreact.commands.main import main
from foreact.commands.options import DenoisingOptions
from foreact.evaluation.dream import DreamConfig, dream
from foreact.policy.storage.checkpoint import save_policy

EXAMPLES = Path(__file__).parents[1] / "examples"
STATE = ("0.1", "-0.2", "0.5")


@pytest.fixture(scope="module")
def toy(tiny, tmp_path_factory) -> dict[str, Path]:
    """A policy on disk, and a picture for each of its cameras."""
    folder = tmp_path_factory.mktemp("toy")
    save_policy(tiny.policy(), folder / "policy", provenance={})
    for camera, clip in tiny.images(1).items():
        Image.fromarray(clip[0]).save(folder / f"{camera}.png")
    return {"policy": folder / "policy", "top": folder / "top.png", "wrist": folder / "wrist.png"}


def imagine(toy, out: Path, *more: object, images: tuple[str, ...] | None = None, instruction: str = "push it") -> None:
    pictures = images if images is not None else (f"top={toy['top']}", f"wrist={toy['wrist']}")
    words = ("imagine", "--policy", toy["policy"], "--image", *pictures, "--instruction", instruction, "--out", out)
    main([str(word) for word in (*words, *more)])


@pytest.fixture
def refused(toy, tmp_path, capsys):
    """Run a command that must fail as a user's mistake and write nothing; return what it said."""

    def run(*more: object, **changes) -> str:
        with pytest.raises(SystemExit) as stopped:
            imagine(toy, tmp_path / "out", *more, **changes)
        assert stopped.value.code == 2
        assert not (tmp_path / "out").exists()
        return " ".join(capsys.readouterr().err.split())

    return run


def test_it_writes_what_the_policy_imagines(tiny, toy, tmp_path, capsys):
    imagine(toy, tmp_path / "out", "--chunks", 2, "--seed", 3, "--action-steps", 3, "--window", 6, "--state", *STATE)
    said = " ".join(capsys.readouterr().out.split())
    assert "8 frames" in said and "16 actions" in said and "No --state" not in said
    for name in ("imagined.mp4", "strip.png", "actions.csv", "actions.png", "imagined.json"):
        assert (tmp_path / "out" / name).stat().st_size > 200
        assert f"out/{name}" in said.replace(" ", "")
    settings = DreamConfig(instruction="push it", num_chunks=2, seed=3)
    policy = tiny.policy(action_steps=3, window=6)
    wanted = dream(policy, settings, tiny.images(1), np.array(STATE, np.float32))
    rows = list(csv.reader((tmp_path / "out" / "actions.csv").read_text().splitlines()))[1:]
    np.testing.assert_allclose(np.array(rows, np.float64)[:, 1:], wanted.actions, atol=1e-5)
    about = json.loads((tmp_path / "out" / "imagined.json").read_text())
    assert about["policy"] == str(toy["policy"]) and about["images"]["top"] == str(toy["top"])
    assert (about["inference"]["action_steps"], about["inference"]["window"]) == (3, 6)
    assert about["state_from"] == "given"


def test_it_says_what_it_assumes(toy, tmp_path, capsys):
    """Without a state the robot stands in the middle; a picture of other proportions is squeezed."""
    Image.new("RGB", (64, 48)).save(tmp_path / "wide.png")
    imagine(toy, tmp_path / "out", "--chunks", 1, images=(f"top={tmp_path / 'wide.png'}", f"wrist={toy['wrist']}"))
    said = " ".join(capsys.readouterr().out.split())
    assert "No --state is given" in said
    assert "camera top (64 x 48) is squeezed to 8 x 16" in said and "camera wrist" not in said
    about = json.loads((tmp_path / "out" / "imagined.json").read_text())
    assert list(about["state"].values()) == pytest.approx([0.5, 0.5, 0.5], abs=0.01)
    assert about["state_from"].startswith("in the middle")


def test_the_examples_go_with_the_shipped_policy(tmp_path):
    out, state = tmp_path / "out", str(EXAMPLES / "lift_cube_state.json")
    picture = f"top={EXAMPLES / 'lift_cube_top.png'}"
    words = "Pick up the white cube with the right arm."
    few = DenoisingOptions(video_steps=1, action_steps=2)
    given = {"image": (picture,), "instruction": words, "state": (state,), "out": out}
    command.run(command.Settings(**given, chunks=1, denoising=few))
    assert len((out / "actions.csv").read_text().splitlines()) == 65


def test_a_camera_without_a_picture_is_named(toy, refused):
    said = refused(images=(f"top={toy['top']}",))
    assert "no picture of camera wrist; got: top; allowed: one of each: top, wrist; add wrist=FILE" in said


def test_an_unknown_camera_is_refused_and_the_known_ones_listed(toy, refused):
    said = refused(images=(f"top={toy['top']}", f"wirst={toy['wrist']}"))
    assert "'wirst'; allowed: top, wrist; did you mean 'wrist'?" in said


def test_a_missing_file_is_refused(toy, refused):
    assert "no such file" in refused(images=(f"top={toy['top'].with_name('no.png')}", f"wrist={toy['wrist']}"))


def test_a_file_that_is_no_picture_is_refused(toy, refused):
    said = refused(images=(f"top={toy['policy'] / 'config.json'}", f"wrist={toy['wrist']}"))
    assert "allowed: a whole picture" in said


def test_a_picture_without_its_camera_is_refused(toy, refused):
    assert "allowed: CAMERA=FILE" in refused(images=(str(toy["top"]),))


def test_no_chunks_are_refused(refused):
    assert "chunks to imagine; got: 0; allowed: 1 or more" in refused("--chunks", 0)


def test_a_wrong_number_of_state_entries_is_refused(refused):
    assert "got: 2 numbers; allowed: 3: shoulder, elbow, gripper" in refused("--state", 0.1, -0.2)


def test_a_schedule_is_applied_and_what_stands_beside_it_wins(toy, tmp_path):
    imagine(toy, tmp_path / "out", "--chunks", 1, "--schedule", "fast", "--video-guidance", 2, "--action-steps", 3)
    used = json.loads((tmp_path / "out" / "imagined.json").read_text())["inference"]
    assert (used["video_steps"], used["s_stop"], used["action_steps"], used["video_guidance"]) == (3, 0.6, 3, 2)


def test_an_unknown_schedule_is_refused_and_the_known_ones_listed(refused):
    assert "unknown schedule; got: 'fats'; allowed: exact, fast, one, turbo, two; did you mean 'fast'?" in refused(
        "--schedule", "fats"
    )


def test_an_impossible_setting_is_refused(refused):
    refused("--s-stop", 1.5)


def test_a_policy_that_does_not_imagine_is_refused_and_one_that_does_named(tmp_path, capsys):
    words = ["imagine", "--policy", "tiny-reactive", "--instruction", "x", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--image", f"top={EXAMPLES / 'lift_cube_top.png'}"])
    said = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2 and "imagines nothing; allowed: one that imagines, such as tiny" in said


def test_a_file_in_the_way_of_the_folder_is_refused(toy, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit):
        imagine(toy, tmp_path / "file")
    assert "a folder that can be written to" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "file").read_text() == "in the way"
