"""The scene as a compiled model."""

import mujoco
import numpy as np
import pytest

from foreact.simulation import scene


@pytest.mark.parametrize("num_cubes", [1, 2])
def test_has_both_arms_and_the_cubes(num_cubes):
    model = scene.load_model(num_cubes)
    assert model.nu == 16
    assert model.nq == 16 + 7 * num_cubes
    assert model.opt.timestep * scene.NUM_SUBSTEPS == pytest.approx(1 / scene.CONTROL_HZ)


def test_models_are_the_callers_own():
    first, second = scene.load_model(1), scene.load_model(1)
    first.geom("lamp").rgba[:] = (1, 0, 0, 1)
    assert np.allclose(second.geom("lamp").rgba, scene.LAMP_DARK)


def test_costly_rendering_is_off():
    model = scene.load_model(1)
    assert model.vis.quality.offsamples == 0
    assert not model.light_castshadow.any()


def test_fingers_touch_with_flat_pads_only():
    model = scene.load_model(1)
    for side in scene.SIDES:
        for finger in scene.FINGERS:
            body = model.body(f"vx300s_{side}/{finger}_link")
            geoms = [model.geom(i) for i in range(body.geomadr[0], body.geomadr[0] + body.geomnum[0])]
            touching = [geom.type[0] for geom in geoms if geom.contype[0]]
            assert touching == [mujoco.mjtGeom.mjGEOM_BOX]


def test_top_camera_sees_cubes_bins_and_lamp_and_little_more():
    model = scene.load_model(1)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    camera = data.camera("top").xpos
    half_m = camera[2] * np.tan(np.radians(model.camera("top").fovy[0] / 2))
    corners = [(0.08 - 0.02, 0.36 - 0.02), (0.22 + 0.02, 0.64 + 0.02), scene.LAMP_POSITION_M[:2]]
    corners += [np.add(centre, side * scene.BIN_HALF_M) for centre in scene.BIN_CENTRES_M.values() for side in (1, -1)]
    reach = np.abs(np.array([np.array(corner) - camera[:2] for corner in corners])).max()
    assert 0.8 * half_m < reach < half_m


def test_leaves_nothing_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    text, meshes = scene.scene_xml(1)
    mujoco.MjModel.from_xml_string(text, meshes)
    assert not list(tmp_path.iterdir())
