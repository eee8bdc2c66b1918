"""Pictures."""

import gc
import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from foreact.errors import ConfigurationError, SimulationError, UnknownNameError
from foreact.simulation import rendering
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.rendering import CAMERAS


def test_an_unknown_camera_is_named_with_those_there_are():
    with pytest.raises(UnknownNameError, match=r"'topp'.*left_wrist.*did you mean 'top'"):
        BimanualEnv("reach_cube", cameras=("topp",))


@pytest.mark.parametrize("settings", [{"cameras": ()}, {"image_size": 0}, {"image_size": 100_000}])
def test_impossible_pictures_are_refused(settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        BimanualEnv("reach_cube", **settings)


def test_without_opengl_the_cure_is_told(monkeypatch, lift_env):
    def broken(*_):
        raise RuntimeError("no EGL device")

    monkeypatch.setattr(rendering, "Renderer", broken)
    lift_env.reset(seed=0)
    with pytest.raises(SimulationError, match=r"no EGL device.*apt-get install.*libegl1"):
        lift_env.images()


def test_a_renderer_that_could_not_be_made_leaves_no_traceback():
    code = (
        "from foreact.errors import SimulationError\n"
        "from foreact.simulation.environment import BimanualEnv\n"
        "env = BimanualEnv('reach_cube', cameras=('top',))\n"
        "env.reset(seed=0)\n"
        "try: env.images()\n"
        "except SimulationError: print('refused')"
    )
    settings = os.environ | {"MUJOCO_GL": "disable"}
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")


@pytest.mark.sim
def test_one_renderer_serves_all_pictures_and_is_freed(monkeypatch):
    made = []
    real = rendering.Renderer
    monkeypatch.setattr(rendering, "Renderer", lambda *a: made.append(real(*a)) or made[-1])
    env = BimanualEnv("reach_cube", image_size=16)
    env.reset(seed=0)
    for _ in range(3):
        env.images()
    env.close()
    assert len(made) == 1 and made[0]._mjr_context is None
    env.close()
    assert set(env.images()) == set(CAMERAS)
    env.close()


@pytest.mark.sim
def test_the_top_camera_sees_the_cube_where_it_is():
    env = BimanualEnv("reach_cube", cameras=("top",), image_size=64)
    for seed in range(4):
        env.reset(seed=seed)
        picture = env.images()["top"]
        assert picture.dtype == np.uint8 and picture.shape == (64, 64, 3)
        rows, columns = np.nonzero((picture > 200).all(axis=-1))
        x, y, _ = env.world.cube_position("white")
        pixels_per_m = 64 / (2 * 1.4 * np.tan(np.radians(11)))
        assert columns.mean() == pytest.approx(31.5 + (x - 0.01) * pixels_per_m, abs=1)
        assert rows.mean() == pytest.approx(31.5 - (y - 0.51) * pixels_per_m, abs=1)
        assert 12 <= len(rows) <= 40
    env.close()


@pytest.mark.sim
def test_the_lamp_is_seen_to_flash():
    env = BimanualEnv("remember_bin", cameras=("top",), image_size=64)
    env.reset(seed=0)
    seen = []
    for _ in range(12):
        seen.append(env.images()["top"][:14].astype(int))
        env.step(env.start.pose)
    assert np.array_equal(seen[0], seen[4])
    assert np.abs(seen[5] - seen[4]).max() > 80
    env.close()


def test_a_backend_that_needs_a_screen_is_named(monkeypatch, lift_env):
    """Nothing is printed about the renderer that was never opened, either."""
    said = []

    def refuse(self, *sizes):
        raise RuntimeError("no display")

    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    monkeypatch.setattr(mujoco.Renderer, "__init__", refuse)
    lift_env.reset(seed=0)
    with pytest.raises(SimulationError, match="MUJOCO_GL=glfw needs a screen: unset it, or set it to egl or osmesa"):
        lift_env.images()
    gc.collect()
    assert said == []
