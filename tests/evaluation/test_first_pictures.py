"""Pictures from files, and which cameras they must be of."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreact.errors import InputError, UnknownNameError
from foreact.evaluation.first_pictures import check_cameras, picture_paths, read_picture


def test_a_picture_is_named_by_its_camera() -> None:
    assert picture_paths(["top=a/b.png", "wrist=odd=name.jpg"]) == {
        "top": Path("a/b.png"),
        "wrist": Path("odd=name.jpg"),
    }


@pytest.mark.parametrize("word", ["table.png", "=table.png", "top=", ""])
def test_a_word_without_camera_or_file_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="CAMERA=FILE"):
        picture_paths(["wrist=hand.png", word])


def test_two_pictures_of_one_camera_are_refused() -> None:
    with pytest.raises(InputError, match=r"camera 'top'; got: a\.png and b\.png"):
        picture_paths(["top=a.png", "top=b.png"])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, mode: str) -> None:
    colours = np.zeros((5, 9, 3), np.uint8)
    colours[:, 4:] = 255
    Image.fromarray(colours).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), colours[None])


def test_a_picture_held_sideways_is_turned(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 8))
    picture.paste((255, 255, 255), (0, 0, 8, 8))  # left half
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    frame = read_picture(tmp_path / "a.png")[0]
    assert frame.shape == (16, 8, 3)
    assert frame[:8].min() == 255 and frame[8:].max() == 0


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.png; got: no such file"):
        read_picture(tmp_path / "no.png")


@pytest.mark.parametrize("share", [0, 0.5])
def test_half_a_picture_is_refused(tmp_path: Path, share: float) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"half\.png.*whole picture"):
        read_picture(tmp_path / "half.png")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture at all")
    with pytest.raises(InputError, match=r"a\.png.*PNG or JPEG"):
        read_picture(tmp_path / "a.png")


def test_all_cameras_in_any_order_will_do(tiny) -> None:
    check_cameras(["wrist", "top"], tiny.embodiment())


def test_an_unknown_camera_is_refused_and_the_known_ones_listed(tiny) -> None:
    with pytest.raises(UnknownNameError, match=r"'wirst'; allowed: top, wrist; did you mean 'wrist'"):
        check_cameras(["top", "wirst"], tiny.embodiment())


@pytest.mark.parametrize(("given", "missing"), [([], "top, wrist"), (["wrist"], "top")])
def test_a_camera_without_a_picture_is_named(tiny, given: list[str], missing: str) -> None:
    with pytest.raises(InputError, match=f"no picture of camera {missing}; .*add {missing.split(', ')[0]}=FILE"):
        check_cameras(given, tiny.embodiment())


def test_a_picture_of_unknown_range_is_named(tmp_path):
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"a\.tiff.*floating-point"):
        read_picture(tmp_path / "a.tiff")
