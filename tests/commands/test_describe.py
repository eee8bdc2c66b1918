"""`foreact describe`: what it prints for people, what it prints for programs, what it refuses."""

import json
from pathlib import Path

import pytest

import foreact
from foreact.commands.describe import Settings, run
from foreact.commands.describe_tables import count, human, milliseconds
from foreact.commands.options import DenoisingOptions
from foreact.errors import ConfigurationError, UnknownNameError

SHIPPED = Path(foreact.__file__).parent / "checkpoints" / "tiny"


def test_tables_for_people_fit_one_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run(Settings(preset="wan5b"))
    said = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in said.splitlines()) <= 80
    assert len(said.splitlines()) < 60
    assert "…" not in said, "nothing is cut off"
    for words in ("wan5b", "5.43 B", "25 video steps, guided", "int8", "LoRA"):
        assert words in said
    for words in ("UMT5-XXL 5.68 B (a known constant)", "computed, not measured"):
        assert words in " ".join(said.split())


def test_json_for_programs(capsys):
    run(Settings(preset="tiny", json=True))
    stored = json.loads(capsys.readouterr().out)
    assert stored["name"] == "tiny"
    assert stored["network"]["total"] == 1889950
    assert stored["accelerator"] == {"name": "H100", "flops_per_s": 790e12, "bytes_per_s": 3.0e12}


def test_a_policys_folder(capsys):
    run(Settings(preset=str(SHIPPED), json=True))
    stored = json.loads(capsys.readouterr().out)
    assert (stored["name"], stored["network"]["total"]) == (str(SHIPPED), 1889950)


def test_other_settings(capsys):
    stored = []
    for changes in ({}, {"window": 8, "video_guidance": 5.0, "video_steps": 3}):
        run(Settings(preset="tiny", json=True, denoising=DenoisingOptions(**changes)))
        stored.append(json.loads(capsys.readouterr().out))
    assert (stored[1]["inference"]["window"], stored[1]["cache"]["rows"]) == (8, 2)
    assert stored[1]["cache"]["float32_bytes"] == stored[0]["cache"]["float32_bytes"] * 2 * 12 // 68
    with pytest.raises(ConfigurationError):
        run(Settings(preset="tiny", denoising=DenoisingOptions(video_steps=-1)))


def test_a_reactive_policy_imagines_nothing(capsys):
    run(Settings(preset="tiny-reactive"))
    assert "no video steps" in capsys.readouterr().out


def test_an_unknown_preset_is_refused_and_the_known_ones_listed():
    with pytest.raises(UnknownNameError, match="did you mean 'wan5b'"):
        run(Settings(preset="wan5"))


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (12_340, "12.3 kB"), (3.2e9, "3.20 GB"), (123.4e12, "123 TB")],
)
def test_numbers_for_people(number, said):
    assert human(number, "B") == said


def test_counts_and_milliseconds():
    assert [count(n) for n in (0, 434_256_414, 4_999_787_712)] == ["-", "434 M", "5.00 B"]
    assert [milliseconds(n) for n in (0.0123, 1.234, 12.34, 123.4)] == ["0.012", "1.23", "12.3", "123"]


def test_a_schedule_by_name_is_described_as_it_is_run(capsys):
    run(Settings(preset="tiny", json=True, denoising=DenoisingOptions(schedule="turbo", action_steps=9)))
    inference = json.loads(capsys.readouterr().out)["inference"]
    assert (inference["video_steps"], inference["s_stop"], inference["action_steps"]) == (2, 0.6, 9)
