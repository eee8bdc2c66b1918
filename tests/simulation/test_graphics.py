"""The choice of an OpenGL backend."""

import pytest

from foreact.simulation import graphics


@pytest.fixture
def no_choice(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("LP_NUM_THREADS", raising=False)
    monkeypatch.setattr(graphics.sys, "platform", "linux")


@pytest.mark.parametrize(
    ("num_devices", "osmesa", "expected"),
    [(1, None, "egl"), (1, object(), "egl"), (0, object(), "osmesa"), (0, None, "disable")],
)
def test_egl_comes_first_then_osmesa_then_none(monkeypatch, no_choice, num_devices, osmesa, expected):
    monkeypatch.setattr(graphics, "num_egl_devices", lambda: num_devices)
    monkeypatch.setattr(graphics, "library", lambda *names: osmesa)
    assert graphics.choose_backend() == expected
    assert graphics.os.environ["MUJOCO_GL"] == expected
    assert graphics.os.environ["LP_NUM_THREADS"] == "0"


def test_what_the_user_chose_stays(monkeypatch, no_choice):
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setenv("LP_NUM_THREADS", "2")
    assert graphics.choose_backend() == "glfw"
    assert graphics.os.environ["LP_NUM_THREADS"] == "2"


def test_other_systems_keep_their_own_default(monkeypatch, no_choice):
    monkeypatch.setattr(graphics.sys, "platform", "darwin")
    assert graphics.choose_backend() is None
    assert "MUJOCO_GL" not in graphics.os.environ


def test_a_machine_without_egl_has_no_device(monkeypatch):
    monkeypatch.setattr(graphics, "library", lambda *names: None)
    assert graphics.num_egl_devices() == 0


def test_a_missing_library_is_none():
    assert graphics.library("libof-no-such-name.so.1") is None
