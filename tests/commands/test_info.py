"""`foreact info`, as a user types it."""

import json
import shutil
from pathlib import Path

import pytest

from foreact.commands.main import main
from foreact.data.latents import LatentCache

WRITTEN = Path(__file__).parents[1] / "golden/lerobot_written/v0.4.4-av1/dataset"


def facts(capsys, *words: object) -> dict[str, str]:
    main(["info", *map(str, words), "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_dataset_without_a_picture_or_a_row_being_read(tmp_path, capsys) -> None:
    root = shutil.copytree(WRITTEN, tmp_path / "d")
    for path in (*root.rglob("*.mp4"), *(root / "data").rglob("*.parquet")):
        path.write_bytes(b"")  # the files are there, and empty
    stored = facts(capsys, root)
    assert stored["episodes"] == "3, 0.00 hours, 28 rows at 15 Hz" and stored["robot"] == "so101_follower"
    assert stored["cameras"] == "observation.images.front 64 x 64, observation.images.wrist 64 x 64"
    assert stored["instructions"] == "'Pick up the cube.'; 'Put it into the box.'"
    assert stored["latents"].startswith("none")
    main(["info", str(root)])
    assert "so101_follower" in capsys.readouterr().out


def test_how_much_of_a_dataset_is_encoded(tiny, tmp_path, capsys) -> None:
    dataset = tiny.dataset(tmp_path / "d", lengths=(21, 17, 25))
    cache = LatentCache(dataset, tiny.vae(), tiny.embodiment())
    list(cache.encode_missing())
    cache.path(1).unlink()
    assert facts(capsys, dataset.root)["latents"].startswith("2 of 3 episodes, cameras top, wrist, video VAE ")
    (cache.folder / "cache.json").write_text("{")
    assert facts(capsys, dataset.root)["latents"].startswith("none")


def test_a_policy_by_name_by_folder_and_by_its_run(tiny, tmp_path, capsys) -> None:
    shipped = facts(capsys, "tiny")
    assert shipped["network"].startswith("1,889,950 weights") and shipped["cameras"] == "top 64 x 64, 12.5 Hz"
    assert "64 a chunk (1.28 s)" in shipped["actions"] and "hand it over" in shipped["instructions"]
    policy = tiny.policy()
    policy.save_pretrained(tmp_path / "run" / "policy", provenance={"steps": 7})
    mine = facts(capsys, tmp_path / "run")
    assert mine == facts(capsys, tmp_path / "run" / "policy")
    weights = sum(value.numel() for value in policy.networks.model.state_dict().values())
    assert mine["network"].startswith(f"{weights:,} weights") and mine["trained"] == "steps 7"
    assert mine["instructions"] == "not recorded"


def test_names_that_look_like_markup_and_long_paths_are_printed_whole(tiny, tmp_path, capsys) -> None:
    folder = tmp_path / ("x" * 120) / "[red]"
    tiny.policy().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["actions"]["embodiment"]["description"] = "An arm. [/bold]"
    (folder / "config.json").write_text(json.dumps(config))
    main(["info", str(folder)])
    stored = "".join(capsys.readouterr().out.split())
    assert str(folder) in stored and "Anarm.[/bold]" in stored


@pytest.mark.parametrize("made", [True, False])
def test_what_is_neither_is_refused(tmp_path, capsys, made: bool) -> None:
    (tmp_path / "x").mkdir() if made else None
    with pytest.raises(SystemExit) as ended:
        main(["info", str(tmp_path / "x")])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "or one of: tiny" in error
    assert ("a folder without meta/info.json" if made else "no folder") in error


def test_a_policy_of_another_format_or_damaged_is_refused(tiny, tmp_path, capsys) -> None:
    tiny.policy().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    good = json.loads(path.read_text())
    for change in ({"format": "other"}, {"actions": 3}, {"instructions": 3}):
        path.write_text(json.dumps(good | change))
        with pytest.raises(SystemExit):
            main(["info", str(tmp_path)])
        assert str(path) in capsys.readouterr().err
