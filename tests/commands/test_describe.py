"""`foreact describe`: what it prints for people, what it prints for programs, what it refuses."""

import json
from pathlib import Path

import pytest

import foreact
from foreact.commands.describe import count, describe, human, milliseconds
from foreact.errors import ConfigurationError, UnknownNameError

SHIPPED = Path(foreact.__file__).parent / "checkpoints" / "tiny"


def test_tables_for_people_fit_one_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    describe("wan5b", {}, as_json=False)
    said = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in said.splitlines()) <= 80
    assert len(said.splitlines()) < 60
    assert "…" not in said, "nothing is cut off"
    for words in ("wan5b", "5.43 B", "25 video steps, guided", "int8", "LoRA"):
        assert words in said
    for words in ("UMT5-XXL 5.68 B (a known constant)", "computed, not measured"):
        assert words in " ".join(said.split())


def test_json_for_programs(capsys):
    describe("tiny", {}, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == "tiny"
    assert told["network"]["total"] == 1889950
    assert told["accelerator"] == {"name": "H100", "flops_per_s": 790e12, "bytes_per_s": 3.0e12}


def test_a_policys_folder(capsys):
    describe(str(SHIPPED), {}, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["network"]["total"]) == (str(SHIPPED), 1889950)


def test_other_settings(capsys):
    told = []
    for changes in ({}, {"window": 8, "video_guidance": 5.0, "video_steps": 3}):
        describe("tiny", changes, as_json=True)
        told.append(json.loads(capsys.readouterr().out))
    assert (told[1]["inference"]["window"], told[1]["cache"]["rows"]) == (8, 2)
    assert told[1]["cache"]["float32_bytes"] == told[0]["cache"]["float32_bytes"] * 2 * 12 // 68
    with pytest.raises(ConfigurationError):
        describe("tiny", {"video_steps": -1}, as_json=True)


def test_a_reactive_policy_imagines_nothing(capsys):
    describe("tiny-reactive", {}, as_json=False)
    assert "no video steps" in capsys.readouterr().out


def test_an_unknown_preset_is_refused_and_the_known_ones_listed():
    with pytest.raises(UnknownNameError, match="did you mean 'wan5b'"):
        describe("wan5", {}, as_json=False)


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (12_340, "12.3 kB"), (3.2e9, "3.20 GB"), (123.4e12, "123 TB")],
)
def test_numbers_for_people(number, said):
    assert human(number, "B") == said


def test_counts_and_milliseconds():
    assert [count(n) for n in (0, 434_256_414, 4_999_787_712)] == ["-", "434 M", "5.00 B"]
    assert [milliseconds(n) for n in (0.0123, 1.234, 12.34, 123.4)] == ["0.012", "1.23", "12.3", "123"]
