"""`foreact verify`: the exit status is the verdict, and the JSON is what the table shows."""

import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from foreact.commands.main import main

GOLDEN = Path(__file__).parent / "golden"
FOLDER = GOLDEN / "no_guidance"

pytestmark = pytest.mark.usefixtures("one_thread")


def verify(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    status = 0
    try:
        main(["verify", *map(str, arguments)])
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


def stored(capsys, *arguments: object) -> tuple[int, dict]:
    status, out, _ = verify(capsys, *arguments, "--json")
    return status, json.loads(out)


def test_it_explains_itself_with_an_example(capsys):
    status, out, _ = verify(capsys, "--help")
    assert status == 0
    assert "Example: foreact verify" in " ".join(out.split()).replace("│ ", "")


@pytest.mark.parametrize("name", ["side_by_side", "t_shape"])
def test_recordings_of_the_release_agree(capsys, name):
    status, result = stored(capsys, GOLDEN / name)
    assert (status, result["agrees"], result["tolerance"]) == (0, True, 1e-4)
    errors = result["errors"]
    assert len(errors) > 15 and max(errors.values()) == errors[result["worst"]] < 1e-4


def test_the_table_shows_what_the_json_says(capsys):
    _, result = stored(capsys, FOLDER)
    status, out, _ = verify(capsys, FOLDER)
    assert status == 0
    shown = dict(re.findall(r"^ *(\S+) +(\d\.\de[-+]\d\d) *$", out, flags=re.MULTILINE))
    assert shown == {name: f"{error:.1e}" for name, error in result["errors"].items()}
    said = " ".join(out.split())
    assert "no_guidance agrees: the worst of" in said and "(tolerance 1e-04)" in said
    assert f"{result['worst']}, is off by {result['errors'][result['worst']]:.1e}" in said


def test_eight_bits_disagree_by_what_they_cost(capsys):
    pytest.importorskip("torchao")
    status, result = stored(capsys, FOLDER, "--quantize", "int8")
    assert (status, result["agrees"]) == (1, False)
    assert 1e-4 < result["errors"][result["worst"]] < 0.01
    status, out, _ = verify(capsys, FOLDER, "--quantize", "int8")
    assert status == 1 and "disagrees" in out
    assert verify(capsys, FOLDER, "--quantize", "int8", "--tolerance", 0.01)[0] == 0


@pytest.mark.parametrize(("name", "status"), [("no_guidance", 0), ("both_guided", 2)])
def test_the_empty_instruction_is_asked_for_where_it_is_used(tmp_path, capsys, name, status):
    folder = shutil.copytree(GOLDEN / name, tmp_path / "recording")
    tensors = load_file(folder / "trace.safetensors")
    del tensors["text.negative"]
    save_file(tensors, folder / "trace.safetensors")
    got, out, err = verify(capsys, folder, "--json")
    assert got == status
    if status:
        assert "no tensor 'text.negative'" in " ".join(err.split())
    else:
        assert "text.negative" not in json.loads(out)["errors"] and json.loads(out)["agrees"]


def test_a_folder_without_a_recording_is_refused(tmp_path, capsys):
    folder = shutil.copytree(FOLDER, tmp_path / "weights", ignore=shutil.ignore_patterns("trace.json"))
    status, out, err = verify(capsys, folder)
    assert (status, out) == (2, "")
    assert "trace.json" in err.replace("\n", "")


def test_a_recording_without_weights_is_refused(tmp_path, capsys):
    folder = shutil.copytree(FOLDER, tmp_path / "weights", ignore=shutil.ignore_patterns("vae"))
    status, _, err = verify(capsys, folder)
    assert status == 2 and "no folder vae/" in " ".join(err.split())


@pytest.mark.parametrize("tolerance", ["0", "-1", "nan"])
def test_a_tolerance_is_positive(capsys, tolerance):
    status, out, err = verify(capsys, FOLDER, f"--tolerance={tolerance}")
    assert (status, out) == (2, "") and "tolerance" in err and "above 0" in err


def test_a_device_that_is_not_there_is_refused(capsys):
    status, _, err = verify(capsys, FOLDER, "--device", "abacus")
    assert status == 2 and "abacus" in err


def test_standard_output_is_json_alone(capsys):
    """The progress bar is on standard error, so that the result can be piped."""
    _, out, err = verify(capsys, FOLDER, "--json")
    assert out.startswith("{") and out.rstrip().endswith("}")
    assert "replaying" in err and "replaying" not in out
