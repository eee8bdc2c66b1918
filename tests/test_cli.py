"""The command line: the whole line on two episodes, what it says, and how it refuses."""

import json
import subprocess
import sys

import pytest

from foreact.commands.main import main
from foreact.commands.table import COMMANDS


def run(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


def refused(capsys, *arguments: object) -> str:
    """Run a command that must fail as a user's mistake; return what it said."""
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(command, "--help")
    assert stopped.value.code == 0
    assert f"Example: foreact {command}" in " ".join(capsys.readouterr().out.split()).replace("│ ", "")


def test_an_unknown_task_is_refused_and_the_known_ones_listed(tmp_path, capsys):
    said = refused(capsys, "collect", "--task", "lift_cub", "--out", tmp_path / "data")
    assert "lift_cub" in said and "did you mean 'lift_cube'" in said and "transfer_cube" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("second", ["--data=b", "--data"])
def test_a_flag_given_twice_is_refused(tmp_path, capsys, second):
    said = refused(capsys, "train-vae", "--data", "a", second, "b", "--out", tmp_path / "o")
    assert "--data; got: 2 times" in said and "--data A B" in said


def test_what_looks_like_markup_is_said_as_it_is(tmp_path, capsys):
    assert "[/nowhere]" in refused(
        capsys, "evaluate", "--policy", "[/nowhere]", "--task", "reach_cube", "--out", tmp_path
    )


@pytest.mark.parametrize(
    "option", ["--seed=-1", "--patch-size=0", "--encoder-width=0", "--num-channels=0", "--num-residual-blocks=0"]
)
def test_impossible_video_vaes_are_refused(tmp_path, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        run("train-vae", "--data", tmp_path, "--out", tmp_path / "o", option)
    assert stopped.value.code == 2 and "got: " in " ".join(capsys.readouterr().err.split())


def test_an_unknown_recipe_is_refused_and_the_known_ones_listed(tmp_path, capsys):
    said = refused(capsys, "train", "--recipe", "huge", "--data", tmp_path, "--vae", tmp_path, "--out", tmp_path / "o")
    assert (
        "unknown recipe" in said
        and "tiny, tiny-disturbed, tiny-grounded, tiny-libero, tiny-metaworld, tiny-reactive" in said
    )
    assert not (tmp_path / "o").exists()


def test_an_unknown_policy_is_refused_and_the_shipped_ones_listed(tmp_path, capsys):
    said = refused(capsys, "evaluate", "--policy", "huge", "--task", "lift_cube", "--out", tmp_path / "o")
    assert "'huge'" in said and "tiny" in said
    assert not (tmp_path / "o").exists()


def test_a_folder_without_a_dataset_is_refused(tmp_path, capsys):
    said = refused(capsys, "encode", "--data", tmp_path, "--vae", tmp_path)
    assert str(tmp_path) in said.replace(" ", "")


def test_a_device_that_is_not_there_is_refused(tmp_path, capsys):
    said = refused(capsys, "evaluate", "--device", "abacus", "--task", "lift_cube", "--out", tmp_path / "o")
    assert "abacus" in said


@pytest.mark.parametrize(
    "option",
    [
        ("--s-stop", "1.5"),
        ("--video-steps", "0"),
        ("--action-steps", "0"),
        ("--video-guidance", "nan"),
        ("--execution-horizon", "7"),
        ("--seed", "-1"),
    ],
)
def test_impossible_inference_settings_are_refused(tmp_path, capsys, option):
    said = refused(capsys, "evaluate", "--task", "reach_cube", "--out", tmp_path / "o", *option)
    assert "got: " in said and "allowed: " in said
    assert not (tmp_path / "o" / "episodes.jsonl").exists()


@pytest.mark.sim
def test_the_whole_line_from_demonstrations_to_an_evaluation(tmp_path):
    data, vae, out, result = (tmp_path / name for name in ("data", "vae", "run", "result"))
    run("collect", "--task", "reach_cube", "--episodes", 2, "--out", data)
    vae_settings = ("--num-steps", 1, "--num-frames", 5, "--num-held-out-episodes", 1)
    run("train-vae", "--data", data, "--out", vae, *vae_settings)
    run("encode", "--data", data, "--vae", vae / "vae")
    steps = ("--optimization.num-steps", 2, "--optimization.warmup-steps", 1, "--num-held-out", 1)
    run("train", "--data", data, "--vae", vae / "vae", "--out", out, *steps)
    run("evaluate", "--policy", out / "policy", "--task", "reach_cube", "--episodes", 1, "--out", result, "--videos", 1)
    summary = json.loads((result / "summary.json").read_text())
    for key in ("success_rate", "ci95_low", "ci95_high", "progress", "chunk_ms", "realtime_ratio"):
        assert isinstance(summary[key], float), key
    assert (summary["task"], summary["episodes"]) == ("reach_cube", 1)
    assert len((result / "episodes.jsonl").read_text().splitlines()) == 1
    assert (result / "episode-1000000.mp4").stat().st_size > 1000


@pytest.mark.parametrize("command", [("evaluate", "--task", "reach_cube"), ("demo",)])
def test_an_unknown_schedule_is_refused_before_anything_is_loaded(tmp_path, capsys, command):
    said = refused(capsys, *command, "--policy", "huge", "--schedule", "turbos", "--out", tmp_path / "o")
    assert "unknown schedule" in said and "allowed: exact, fast, one, turbo, two" in said and "'huge'" not in said
    assert not (tmp_path / "o").exists()


@pytest.mark.sim
def test_a_schedule_is_applied_and_what_stands_beside_it_wins(tmp_path, capsys):
    steps = ("--schedule", "turbo", "--video-guidance", 2, "--s-stop", 0.5)
    run("evaluate", "--task", "reach_cube", "--episodes", 1, "--out", tmp_path, *steps)
    used = json.loads((tmp_path / "evaluation.json").read_text())["inference"]
    assert (used["video_steps"], used["action_steps"], used["video_guidance"], used["s_stop"]) == (2, 4, 2, 0.5)
    assert "2 video steps to s = 0.5, guidance 2; 4 action steps" in " ".join(capsys.readouterr().out.split())


def test_whoever_reads_the_output_may_stop() -> None:
    command = [sys.executable, "-m", "foreact", "evaluate", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
