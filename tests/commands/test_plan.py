"""`foreact plan`, and the GPUs of `foreact describe`: what is said, and that its commands exist."""

import importlib
import json
import shlex
from pathlib import Path

import pytest

from foreact.commands import describe, plan
from foreact.commands.cards import CardOptions, dollars, hours, seconds
from foreact.commands.parsing import parse
from foreact.commands.table import COMMANDS
from foreact.errors import ConfigurationError, UnknownNameError


def said(capsys, **settings) -> str:
    plan.run(plan.Settings(**settings))
    return capsys.readouterr().out


def checked(line: str) -> str:
    """Parse a printed command as the command line would; return its name."""
    words = shlex.split(line)
    words = words[words.index("foreact") + 1 :]
    module = importlib.import_module(f"foreact.commands.{COMMANDS[words[0]].module}")
    parse(words[0], module, words[1:])
    return words[0]


@pytest.mark.parametrize(
    ("cards", "recipe", "names"),
    [
        ({"gpu_memory": 24.0, "gpus": 1}, "wan5b-lora-24gb", ["init", "encode", "train"]),
        ({"gpu": "h100", "gpus": 8}, "wan5b-post", ["init", "encode", "train"]),
        ({"gpu_memory": 16.2}, "small", ["train-vae", "encode", "train"]),
    ],
)
def test_the_first_that_fits_is_proposed_with_commands_that_exist(capsys, cards, recipe, names) -> None:
    text = said(capsys, cards=CardOptions(**cards))
    assert f"Proposed: {recipe}" in text
    commands = [line.strip() for line in text.split("To start:")[1].splitlines() if line.strip()]
    assert [checked(line) for line in commands] == names
    assert f"--recipe {recipe}" in commands[-1]
    assert commands[-1].startswith("torchrun --standalone --nproc-per-node 8 -m ") == (cards.get("gpus") == 8)


def test_data_is_measured_and_named(capsys, tiny, tmp_path: Path) -> None:
    dataset = tiny.dataset(tmp_path / "my data")
    text = " ".join(said(capsys, cards=CardOptions(gpu="rtx4090"), data=(dataset.root,)).split())
    assert f"{dataset.num_episodes} episodes, " in text and "of disk, and as much memory of the CPU" in text
    assert shlex.quote(str(dataset.root)) in text
    stored = " ".join(said(capsys, cards=CardOptions(gpu="rtx4090"), episodes=50, hours=1.0).split())
    assert "50 episodes, 1 hours: each is drawn from 1920 times; their latents take 1.04 GB" in stored


def test_json_for_programs(capsys) -> None:
    stored = json.loads(said(capsys, cards=CardOptions(gpu="l40s"), json=True))
    assert stored["chosen"] == "wan5b-lora-48gb" and [each["name"] for each in stored["proposals"]] == list(
        plan.CANDIDATES
    )
    assert stored["proposals"][1]["cost"]["fits"] is True


def test_a_card_that_is_too_small_is_told_what_would_do(capsys) -> None:
    with pytest.raises(ConfigurationError, match=r"memory of 1 x 2 GB; got: 2.00 GB; allowed: more: .*tiny train"):
        said(capsys, cards=CardOptions(gpu_memory=2.0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cards": CardOptions()}, "--gpu and --gpu-memory; got: neither"),
        ({"cards": CardOptions(gpu="h100", gpu_memory=80.0)}, "got: both"),
        ({"cards": CardOptions(gpu_memory=0.0)}, "--gpu-memory; got: 0.0"),
        ({"cards": CardOptions(gpu="h100"), "episodes": 3}, "got: one of them"),
        ({"cards": CardOptions(gpu="h100"), "episodes": 0, "hours": 1.0}, r"got: \(0, 1.0\)"),
        ({"cards": CardOptions(gpu="h100"), "episodes": 3, "data": (Path("d"),)}, "got: both"),
    ],
)
def test_what_cannot_be_is_refused(settings, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        plan.run(plan.Settings(**settings))


def test_describe_says_what_a_training_takes_on_some_cards(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    describe.run(describe.Settings(preset="wan5b-post", cards=CardOptions(gpus=8, gpu="h100", price=2.0)))
    text = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    joined = " ".join(text.split())
    assert "To train on 8 x H100 SXM" in joined and "dollars at 2.00 dollars a card and hour" in joined
    assert "Computed, not measured: 36 % of 989 TFLOP/s" in joined and "example" not in joined
    describe.run(describe.Settings(preset="tiny", json=True, cards=CardOptions(gpus=2, gpu="h100")))
    assert json.loads(capsys.readouterr().out)["cost"]["fits"] is True


def test_describe_refuses_cards_beside_a_policy_and_unknown_ones(tiny, tmp_path: Path) -> None:
    tiny.policy().save_pretrained(tmp_path / "p")
    with pytest.raises(ConfigurationError, match="allowed: next to the name of a recipe"):
        describe.run(describe.Settings(preset=str(tmp_path / "p"), cards=CardOptions(gpu="h100")))
    with pytest.raises(UnknownNameError, match="unknown gpu"):
        describe.run(describe.Settings(preset="tiny", cards=CardOptions(gpu="voodoo2")))


def test_numbers_for_people() -> None:
    assert [seconds(value) for value in (0.0123, 8.43, 147.6)] == ["12 ms", "8.4 s", "148 s"]
    assert [hours(value) for value in (0.5, 7.02, 336.0)] == ["30 min", "7.0 h", "14 days"]
    assert [dollars(value) for value in (0.4, 140.3, 95_764.0)] == ["0.40 dollars", "140 dollars", "95,764 dollars"]
