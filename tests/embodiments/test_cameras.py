import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from foreact.embodiments.cameras import CameraLayout
from foreact.embodiments.resizing import interpolate_frames
from foreact.errors import ConfigurationError, InputError, UnknownNameError

GOLDEN = Path(__file__).parents[1] / "golden"
SIDE = CameraLayout(kind="side_by_side", cameras=("front", "wrist"), height=32, width=48)
TEE = CameraLayout(kind="t_shape", cameras=("head", "left", "right"), height=32, width=48)


def images(layout, size=None, num_frames=3, seed=0):
    rng = np.random.default_rng(seed)
    sizes = [size] * 3 if size else layout.picture_sizes
    return {
        camera: rng.integers(0, 256, (num_frames, *sizes[n], 3), dtype=np.uint8)
        for n, camera in enumerate(layout.cameras)
    }


def latents(layout, factor, leading=(5, 2)):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(*leading, h // factor, w // factor)) for h, w in layout.picture_sizes]


def test_pictures_of_the_right_size_pass_untouched():
    for layout in (SIDE, TEE):
        given_images = images(layout)
        pictures = layout.pictures(given_images)
        assert [name for name, _ in pictures] == list(layout.cameras)
        for name, picture in pictures:
            np.testing.assert_array_equal(picture, given_images[name])


def test_pictures_are_resized_and_other_cameras_ignored():
    large = {**images(TEE, size=(64, 96)), "ceiling": np.zeros((9, 8, 8, 3), np.uint8)}
    pictures = dict(TEE.pictures(large))
    assert {name: p.shape[1:3] for name, p in pictures.items()} == {
        "head": (32, 48),
        "left": (16, 24),
        "right": (16, 24),
    }
    np.testing.assert_array_equal(pictures["left"][0, 0, 0], np.rint(large["left"][0, :4, :4].mean(axis=(0, 1))))


def test_bilinear_pictures_are_not_rounded():
    layout = dataclasses.replace(TEE, resampling="bilinear")
    given_images = images(TEE, size=(32, 48))
    pictures = dict(layout.pictures(given_images))
    assert pictures["head"] is given_images["head"]
    assert {p.dtype for name, p in pictures.items() if name != "head"} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(pictures["left"], interpolate_frames(given_images["left"], 16, 24))
    assert np.abs(pictures["left"] - TEE.pictures(given_images)[1][1]).max() > 0


def test_uncompose_is_the_inverse_of_pictures():
    given_images = images(TEE)
    again = TEE.uncompose([picture for _, picture in TEE.pictures(given_images)])
    assert list(again) == list(given_images)
    for name in again:
        np.testing.assert_array_equal(again[name], given_images[name])


def test_side_by_side_canvas():
    parts = latents(SIDE, 8)
    canvas = SIDE.assemble(parts)
    assert canvas.shape == (5, 2, 4, 12)
    np.testing.assert_array_equal(canvas, np.concatenate(parts, axis=-1))


def test_t_shape_canvas():
    head, left, right = latents(TEE, 8)
    canvas = TEE.assemble([head, left, right])
    assert canvas.shape == (5, 2, 6, 6)
    np.testing.assert_array_equal(canvas[..., 2:, :], head)
    np.testing.assert_array_equal(canvas[..., :2, :3], left)
    np.testing.assert_array_equal(canvas[..., :2, 3:], right)


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(["side_by_side", "t_shape"]),
    num_cameras=st.integers(1, 4),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    leading=st.lists(st.integers(1, 3), max_size=3),
)
def test_split_is_the_inverse_of_assemble_for_arrays_and_tensors(kind, num_cameras, height, width, leading):
    cameras = ("a", "b", "c") if kind == "t_shape" else tuple("abcd"[:num_cameras])
    layout = CameraLayout(kind=kind, cameras=cameras, height=16 * height, width=16 * width)
    parts = latents(layout, 8, leading)
    canvas = layout.assemble(parts)
    assert canvas.shape == (*leading, *layout.canvas_shape(8))
    tensor_canvas = layout.assemble([torch.from_numpy(part) for part in parts])
    assert isinstance(canvas, np.ndarray) and isinstance(tensor_canvas, torch.Tensor)
    np.testing.assert_array_equal(canvas, tensor_canvas.numpy())
    for part, array, tensor in zip(parts, layout.split(canvas), layout.split(tensor_canvas), strict=True):
        np.testing.assert_array_equal(part, array)
        np.testing.assert_array_equal(part, tensor.numpy())


def test_gradients_pass_through_the_canvas():
    parts = [torch.from_numpy(part).requires_grad_() for part in latents(TEE, 8)]
    TEE.assemble(parts).sum().backward()
    assert all(part.grad is not None and torch.all(part.grad == 1) for part in parts)


@pytest.mark.parametrize("setting", ["side_by_side", "t_shape"])
def test_canvas_of_the_published_program(setting):
    """The recorded first latent has the canvas the layout says, and recorded frames pass unresized."""
    settings = json.loads((GOLDEN / setting / "trace.json").read_text())
    trace = load_file(GOLDEN / setting / "trace.safetensors")
    layout = CameraLayout(
        kind=settings["camera_layout"],
        cameras=tuple(settings["cameras"]),
        height=settings["height"],
        width=settings["width"],
    )
    assert layout.canvas_shape(16) == trace["init_latent"].shape[-2:]
    frames = {camera: trace[f"frames.init.{camera}"] for camera in layout.cameras}
    assert all(np.array_equal(picture, frames[name]) for name, picture in layout.pictures(frames))


def test_a_size_the_vae_does_not_divide():
    with pytest.raises(ConfigurationError, match=r"'left'.*got: 16x24.*multiples of 16.*wrists have half"):
        TEE.canvas_shape(16)
    with pytest.raises(ConfigurationError, match=r"'front'.*got: 32x48"):
        SIDE.canvas_shape(5)


def test_a_picture_in_place_of_a_clip_is_told_how_to_become_one():
    with pytest.raises(InputError, match=r"picture\[None\] is a clip"):
        SIDE.pictures({**images(SIDE), "wrist": np.zeros((32, 48, 3), np.uint8)})


def test_missing_cameras_are_listed():
    with pytest.raises(InputError, match="lack cameras left, right; got: head; allowed: head, left, right"):
        TEE.pictures({"head": images(TEE)["head"]})
    with pytest.raises(InputError, match="got: none"):
        TEE.pictures({})


@pytest.mark.parametrize(
    ("clip", "got"),
    [
        (np.zeros((3, 32, 48, 3), np.float32), "float32"),
        (np.zeros((32, 48, 3), np.uint8), r"uint8 \[32, 48, 3\]"),
        (np.zeros((3, 32, 48, 4), np.uint8), r"uint8 \[3, 32, 48, 4\]"),
        (np.zeros((0, 32, 48, 3), np.uint8), r"uint8 \[0, 32, 48, 3\]"),
    ],
)
def test_bad_clips_are_named(clip, got):
    with pytest.raises(InputError, match=f"camera 'wrist'; got: .*{got}"):
        SIDE.pictures({**images(SIDE), "wrist": clip})


def test_clips_of_different_length():
    with pytest.raises(InputError, match="'front': 3, 'wrist': 2"):
        SIDE.pictures({**images(SIDE), "wrist": images(SIDE, num_frames=2)["wrist"]})


def test_wrong_pictures_for_viewing():
    pictures = list(images(SIDE).values())
    with pytest.raises(InputError, match="number of pictures; got: 1"):
        SIDE.uncompose(pictures[:1])
    with pytest.raises(InputError, match=r"camera 'wrist'.*16, 48, 3"):
        SIDE.uncompose([pictures[0], pictures[1][:, :16]])


def test_latents_that_do_not_fit():
    parts = latents(TEE, 8)
    with pytest.raises(InputError, match="number of latents; got: 2"):
        TEE.assemble(parts[:2])
    with pytest.raises(InputError, match="latents of a t_shape layout"):
        TEE.assemble([parts[0]] * 3)
    with pytest.raises(InputError, match="latents of a side_by_side layout"):
        SIDE.assemble([parts[0], parts[1]])


@pytest.mark.parametrize(("layout", "shape"), [(SIDE, (5, 2, 4, 11)), (TEE, (5, 2, 7, 6)), (TEE, (5, 2, 6, 5))])
def test_canvas_that_does_not_divide(layout, shape):
    with pytest.raises(InputError, match=f"canvas of a {layout.kind}"):
        layout.split(np.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cameras": ()}, "cameras of a layout"),
        ({"cameras": ("a", "a")}, "cameras of a layout"),
        ({"kind": "t_shape"}, "three: head, left wrist, right wrist"),
        ({"height": 0}, "picture size; got: 0x48"),
        ({"kind": "t_shape", "cameras": ("a", "b", "c"), "width": 49}, "got: 32x49; allowed: even"),
    ],
)
def test_impossible_layouts(change, message):
    with pytest.raises(ConfigurationError, match=message):
        CameraLayout(**{"kind": "side_by_side", "cameras": ("a", "b"), "height": 32, "width": 48, **change})


def test_json_round_trip_and_unknown_keys():
    for layout in (TEE, dataclasses.replace(TEE, resampling="bilinear")):
        assert CameraLayout.from_dict(json.loads(json.dumps(layout.to_dict()))) == layout
    assert list(TEE.to_dict()) == ["kind", "cameras", "height", "width"]
    with pytest.raises(ConfigurationError, match=r"resampling of camera layout.*antialiased, bilinear"):
        CameraLayout.from_dict({**TEE.to_dict(), "resampling": "nearest"})
    with pytest.raises(UnknownNameError, match="setting of camera layout"):
        CameraLayout.from_dict({**TEE.to_dict(), "depth": 3})
    with pytest.raises(ConfigurationError, match=r"kind of camera layout.*side_by_side, t_shape"):
        CameraLayout.from_dict({**TEE.to_dict(), "kind": "mosaic"})
