"""Rollouts of the published program, recorded: ours computes the same, and the comparison notices when it does not.

`side_by_side` and `t_shape` were recorded from the release itself, the others from LeRobot's port of it by
`experiments/published_recordings`.
"""

import json
import math
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from foreact.errors import CheckpointError
from foreact.policy.loading import load_published
from foreact.policy.networks import Networks
from foreact.policy.policy import Policy
from foreact.policy.replay import SETTINGS_FILE, TENSORS_FILE, Recording, replay

FOLDERS = {path.parent.name: path.parent for path in sorted(Path(__file__).parents[1].glob("golden/*/trace.json"))}
TOLERANCE = 1e-4
GIVEN = ("frames.", ".noise.")
"""In the names of tensors that go in; the others come out."""

pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def networks(name: str) -> Networks:
    settings = Recording(FOLDERS[name]).settings
    return load_published(FOLDERS[name], settings.codec, settings.inference).networks


def load(recording: Recording, name: str | None = None) -> Policy:
    weights = networks(name or recording.folder.name)
    return Policy(weights, recording.settings.codec, recording.settings.inference)


def errors_of(recording: Recording, policy: Policy | None = None) -> dict[str, float]:
    return {a.name: a.relative_error for a in replay(recording, policy or load(recording))}


def worst(recording: Recording, policy: Policy | None = None) -> float:
    return max(errors_of(recording, policy).values())


def altered(name: str, tensor: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Recording:
    recording = Recording(FOLDERS[name])
    recording.tensors = {**recording.tensors, tensor: change(recording[tensor])}
    return recording


@pytest.mark.parametrize("name", FOLDERS)
def test_every_recorded_tensor_is_reproduced(name):
    recording = Recording(FOLDERS[name])
    errors = errors_of(recording)
    made = {tensor for tensor in recording.tensors if not any(given in tensor for given in GIVEN)}
    later_feedback = {f"chunk{n}.state_fed_back" for n in range(1, recording.settings.chunks)}
    assert set(errors) == made - later_feedback | {"video_sigmas", "action_sigmas"}
    assert max(errors.values()) < TOLERANCE, errors


def test_recordings_differ_in_what_they_cover():
    settings = [Recording(folder).settings for folder in FOLDERS.values()]
    assert {(s.guidance_scale > 1, s.action_guidance_scale > 1) for s in settings} == {
        (guided, actions_too) for guided in (True, False) for actions_too in (True, False)
    }
    assert {s.video_steps_executed == -1 for s in settings} == {True, False}
    assert {s.camera_layout for s in settings} == {"side_by_side", "t_shape"}
    assert {len(s.cameras) for s in settings} == {1, 2, 3}
    assert {s.latent_frames_per_chunk for s in settings} == {2, 3, 4}
    assert {s.actions_per_latent_frame for s in settings} == {4, 8, 16}


@pytest.mark.parametrize(
    "weight",
    [
        "video.head_table",
        "video.text_in.weight",
        "video.blocks.0.text_norm.bias",
        "video.blocks.0.joint.norm_k.weight",
        "action.time_projection.bias",
        "action.embed.weight",
    ],
)
def test_a_weight_that_is_slightly_wrong_shows(weight):
    recording = Recording(FOLDERS["no_guidance"])
    recording.settings = replace(recording.settings, chunks=1)
    model = deepcopy(networks("no_guidance").model)
    with torch.no_grad():
        model.get_parameter(weight).mul_(1.05)
    wrong = replace(networks("no_guidance"), model=model)
    policy = Policy(wrong, recording.settings.codec, recording.settings.inference)
    assert worst(recording, policy) > 5 * TOLERANCE


@pytest.mark.parametrize("kind", ["video", "action"])
def test_other_noise_shows_from_its_chunk_on(kind):
    errors = errors_of(altered("no_guidance", f"chunk1.noise.{kind}", lambda noise: noise + 0.01))
    first = errors.pop(f"chunk1.first_{kind}_prediction")
    assert first > 5 * TOLERANCE
    assert max(error for name, error in errors.items() if not name.startswith("chunk1")) < TOLERANCE


def test_swapped_cameras_show():
    recording = Recording(FOLDERS["both_guided"])
    recording.settings = replace(recording.settings, chunks=1, cameras=recording.settings.cameras[::-1])
    assert errors_of(recording)["init_latent"] > 0.1


@pytest.mark.parametrize("fed_back", ["state_fed_back", "frames"])
def test_what_is_fed_back_shows_in_the_next_chunk(fed_back):
    def reversed_in_time(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.flip(0) if fed_back == "frames" else torch.cat([tensor[:, :1], tensor[:, 1:].flip(2)], dim=1)

    tensor = "frames.chunk0.observation.images.cam0" if fed_back == "frames" else "chunk0.state_fed_back"
    recording = altered("resized_and_perturbed", tensor, reversed_in_time)
    recording.settings = replace(recording.settings, chunks=2)
    errors = errors_of(recording)
    assert max(error for name, error in errors.items() if name.startswith("chunk0")) < TOLERANCE
    assert min(errors[f"chunk1.first_{kind}_prediction"] for kind in ("video", "action")) > 5 * TOLERANCE


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("partial_video_steps", {"guidance_scale": 3.03}),
        ("action_guidance", {"action_guidance_scale": 2.02}),
        ("both_guided", {"video_steps_executed": 2}),
        ("partial_video_steps", {"video_steps_executed": -1}),
        ("resized_and_perturbed", {"video_shift": 5.01}),
        ("resized_and_perturbed", {"action_shift": 2.01}),
        ("resized_and_perturbed", {"used_action_channels": (7, 9, 8)}),
        ("no_guidance", {"prompt": "pick up the red bowl"}),
        ("no_guidance", {"q99": (0.5,) * 30}),
    ],
)
def test_another_setting_shows(name, change):
    recording = Recording(FOLDERS[name])
    recording.settings = replace(recording.settings, chunks=1, **change)
    assert worst(recording) > 5 * TOLERANCE


def test_what_is_no_number_is_no_agreement():
    recording = altered("no_guidance", "chunk0.video_latents", lambda latents: latents * math.nan)
    assert errors_of(recording)["chunk0.video_latents"] == math.inf


def bad_recording(folder: Path, *, settings: dict | str | None = None, tensors: dict | None = None) -> Recording:
    """The smallest recording with something wrong; None as a tensor leaves it out."""
    source = FOLDERS["no_guidance"]
    shutil.copy(source / SETTINGS_FILE, folder)
    shutil.copy(source / TENSORS_FILE, folder)
    if isinstance(settings, str):
        (folder / SETTINGS_FILE).write_text(settings)
    elif settings is not None:
        stored = json.loads((source / SETTINGS_FILE).read_text()) | settings
        (folder / SETTINGS_FILE).write_text(json.dumps({k: v for k, v in stored.items() if v is not None}))
    if tensors is not None:
        stored = load_file(source / TENSORS_FILE) | tensors
        save_file({k: v for k, v in stored.items() if v is not None}, folder / TENSORS_FILE)
    return Recording(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{", "Expecting property name"),
        ("[1]", "a table of names and values"),
        ({"colour": "red"}, "colour"),
        ({"chunks": None}, "add chunks"),
        ({"chunks": "two"}, "chunks"),
        ({"q01": [None]}, "q01"),
    ],
)
def test_damaged_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(CheckpointError, match=message):
        bad_recording(tmp_path, settings=settings)


def test_missing_and_truncated_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"trace\.json; got: No such file"):
        Recording(tmp_path)
    bad_recording(tmp_path)
    whole = (tmp_path / TENSORS_FILE).read_bytes()
    (tmp_path / TENSORS_FILE).write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match=r"trace\.safetensors.*fetch the folder again"):
        Recording(tmp_path)
    (tmp_path / TENSORS_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"trace\.safetensors"):
        Recording(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"text.positive": None}, "no tensor 'text.positive'"),
        ({"chunk1.noise.action": None}, "no tensor 'chunk1.noise.action'"),
        ({"frames.chunk0.observation.images.cam0": None}, "no tensor 'frames.chunk0"),
        ({"chunk0.actions": torch.zeros(7, 4, 5)}, r"chunk0.actions.*got: \(7, 4, 5\); allowed: \(7, 4, 4\)"),
        ({"chunk0.state_fed_back": torch.zeros(7, 4)}, r"chunk0.state_fed_back.*allowed: \(7, 4, 4\)"),
        ({"chunk0.noise.video": torch.zeros(1, 48, 4, 3, 2)}, r"noise.video.*allowed: \(1, 48, 4, 2, 2\)"),
        ({"chunk0.noise.video": torch.zeros(48, 4, 2, 2)}, r"noise.video.*allowed: \(1, 48, 4, 2, 2\)"),
        ({"chunk0.noise.action": torch.zeros(1, 30, 4, 5, 1)}, r"noise.action.*allowed: \(1, 30, 4, 4, 1\)"),
    ],
)
def test_missing_and_misshapen_tensors_are_refused(tmp_path, tensors, message):
    recording = bad_recording(tmp_path, tensors=tensors)
    with pytest.raises(CheckpointError, match=message):
        errors_of(recording, load(recording, "no_guidance"))


def test_a_schedule_that_is_too_short_is_refused(tmp_path):
    recording = bad_recording(tmp_path, settings={"video_sigmas": [1.0]})
    with pytest.raises(CheckpointError, match=r"video_sigmas.*got: 1; allowed: one for each of 4 steps"):
        errors_of(recording, load(recording, "no_guidance"))
