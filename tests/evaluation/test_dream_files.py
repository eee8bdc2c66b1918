"""A dream on disk, read back."""

import csv
import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from foreact.errors import ConfigurationError
from foreact.evaluation.canvas import BAR, mosaic, resize, tile_size
from foreact.evaluation.dream import Dream, DreamConfig, DreamedChunk, dream
from foreact.evaluation.dream_files import describe_dream, write_dream
from foreact.evaluation.dream_pictures import GAP, MARGIN, STILL, TILE
from foreact.evaluation.figures import draw_dreamed_actions
from foreact.policy.policy import Policy

STATE = np.array([0.1, -0.2, 0.5], np.float32)
FILES = {"imagined.mp4", "strip.png", "actions.csv", "actions.png", "imagined.json"}


def smooth(size: tuple[int, int]) -> np.ndarray:
    """A picture that survives compression."""
    rows, columns = np.linspace(0, 200, size[0]), np.linspace(0, 200, size[1])
    return np.stack(np.broadcast_arrays(rows[:, None], columns, 90.0), axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def policy(tiny) -> Policy:
    return tiny.policy(first_frame="chunk")


@pytest.fixture(scope="module")
def dreamed(policy: Policy) -> Dream:
    images = {"top": smooth((48, 24))[None], "wrist": smooth((32, 16))[None]}
    return dream(policy, DreamConfig(instruction="Push the “small” cube.", num_chunks=3), images, STATE)


@pytest.fixture(scope="module")
def folder(policy: Policy, dreamed: Dream, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dream") / "new" / "folder"
    files = write_dream(out, dreamed, describe_dream(policy, dreamed))
    assert {file.name for file in files} == {file.name for file in out.iterdir()} == FILES
    return out


def test_the_table_holds_the_actions_to_the_last_bit(folder: Path, dreamed: Dream) -> None:
    header, *rows = csv.reader((folder / "actions.csv").read_text().splitlines())
    assert header == ["time_s", "shoulder (rad)", "elbow (rad)", "gripper (opening)"]
    assert np.array_equal(np.array(rows)[:, 1:].astype(np.float32), dreamed.actions)
    np.testing.assert_allclose([float(row[0]) for row in rows], np.arange(len(dreamed.actions)) / 50)


def test_the_film_begins_with_the_given_picture_and_shows_every_frame(folder: Path, dreamed: Dream) -> None:
    with av.open(str(folder / "imagined.mp4")) as file:
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(decoded) == len(dreamed.pictures) == 1 + 2 + 4 + 4
    layout = dreamed.embodiment.layout
    for number in (0, 1, len(decoded) - 1):
        wanted = mosaic(dreamed.pictures[number][1], layout, TILE, named=True)
        top = decoded[number].shape[0] - BAR - TILE
        assert np.abs(decoded[number][top : top + TILE].astype(int) - wanted).mean() < 6, number
        assert decoded[number][:top].max() > 150, "the instruction stands above"


def test_the_strip_leads_from_the_given_picture_to_the_last(folder: Path, dreamed: Dream) -> None:
    strip = np.asarray(Image.open(folder / "strip.png").convert("RGB"))
    height, width = tile_size(dreamed.embodiment.layout, STILL)
    assert strip.shape[1] == 2 * MARGIN + 8 * width + 7 * GAP
    bottom = strip.shape[0] - MARGIN - GAP
    for left, (_, images) in ((MARGIN, dreamed.pictures[0]), (strip.shape[1] - MARGIN - width, dreamed.pictures[-1])):
        still = strip[bottom - height + 24 : bottom, left : left + width]  # below the camera's name
        assert np.array_equal(still, resize(images["wrist"], (height, width))[24:])


def test_the_description_tells_how_it_came_about(folder: Path, policy: Policy, dreamed: Dream) -> None:
    about = json.loads((folder / "imagined.json").read_text())
    assert about["instruction"] == "Push the “small” cube." and about["seed"] == 0
    assert about["state"] == {"shoulder": 0.1, "elbow": -0.2, "gripper": 0.5}
    assert about["inference"]["video_steps"] == policy.config.video_steps
    assert [chunk["num_actions"] for chunk in about["chunks"]] == [4, 8, 8] and about["num_actions"] == 20
    assert about["chunks"][1]["stage_ms"].keys() == dreamed.chunks[1].stage_ms.keys()
    assert about["weights"] == policy.digest()


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, dreamed: Dream) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match=r"writing to .*choose another folder"):
        write_dream(tmp_path / "file" / "out", dreamed, {})


def test_what_fails_half_way_leaves_only_whole_files(tmp_path: Path, dreamed: Dream, monkeypatch) -> None:
    def fail(self, target, **_):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(ConfigurationError, match="No space left"):
        write_dream(tmp_path, dreamed, {})
    assert {file.name for file in tmp_path.iterdir()} == FILES - {"actions.png", "imagined.json"}


@pytest.mark.parametrize(("moving", "rows"), [(0, 1), (1, 1), (3, 3)])
def test_the_figure_shows_every_dof_that_moves(tmp_path: Path, dreamed: Dream, moving: int, rows: int) -> None:
    actions = np.zeros((8, 3), np.float32)
    actions[:, :moving] += np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    chunk = DreamedChunk(actions=actions, frames=dreamed.chunks[1].frames, stage_ms={})
    still = Dream(
        config=dreamed.config,
        embodiment=dreamed.embodiment,
        first_images=dreamed.first_images,
        state=dreamed.state,
        chunks=(chunk,),
    )
    draw_dreamed_actions(tmp_path / "a.png", still)
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    dark = (picture < 80).mean(axis=1) > 0.6  # the axes of time, long horizontal lines: one for each degree of freedom
    assert np.count_nonzero(dark[1:] & ~dark[:-1]) == rows
