"""The contract that every world keeps, over those whose packages are installed here."""

from collections.abc import Iterator

import numpy as np
import pytest

from foreact.embodiments import load_embodiment
from foreact.environments import Environment, check_world, find, make_environment
from foreact.errors import NotInstalledError, UnknownNameError

WORLDS = {
    "aloha/lift_cube": "aloha",
    "aloha/remember_bin": "aloha",
    "metaworld/drawer-open-v3": "sawyer",
    "metaworld/pick-place-v3": "sawyer",
    "gym_aloha/AlohaTransferCube-v0": "aloha",
    "gym_aloha/AlohaInsertion-v0": "aloha",
    "gym:gym_pusht/PushT-v0": "planar",
    "libero/object/3": "libero_panda",
}
SEES_ALL_STEPS = ("gym:gym_pusht/PushT-v0",)
"""Worlds that render at every step, because the package does."""
FIRST_CAMERA = {"aloha": ("top",), "sawyer": ("corner2",), "planar": ("image",), "libero_panda": ("agentview",)}


@pytest.fixture(scope="module", params=WORLDS)
def world(request) -> Iterator[Environment]:
    name = request.param
    try:
        env = make_environment(name, cameras=FIRST_CAMERA[WORLDS[name]], image_size=64)
    except NotInstalledError as error:
        pytest.skip(str(error))
    env.name = name  # type: ignore[attr-defined]
    yield env
    env.close()


def still(env: Environment) -> np.ndarray:
    return load_embodiment(WORLDS[env.name]).hold_action(env.state())  # type: ignore[attr-defined]


@pytest.mark.sim
def test_it_is_the_world_of_its_robot(world) -> None:
    robot = load_embodiment(WORLDS[world.name])
    world.reset(seed=0)
    assert isinstance(world, Environment)
    assert world.state().shape == (robot.num_state_entries,) and world.state().dtype == np.float32
    assert still(world).shape == world.action_space.shape == (robot.num_dofs,)
    assert world.instruction.strip() and world.max_steps > 0 and world.control_hz == robot.timing.action_hz
    assert world.name.endswith(world.task_name) and world.name.startswith(world.suite)
    suite, _ = find(world.name)
    assert suite.robot in (WORLDS[world.name], None)
    assert "none" not in suite.versions().values()


@pytest.mark.sim
def test_pictures_follow_the_seed(world) -> None:
    """The same seed shows the same start to the last bit, another seed another one."""
    world.reset(seed=11)
    first, state = world.images(), world.state()
    (camera,) = world.cameras
    assert first.keys() == {camera} and first[camera].dtype == np.uint8 and first[camera].shape == (64, 64, 3)
    assert first[camera].std() > 5
    world.reset(seed=12)
    other = world.images()[camera]
    for _ in range(3):
        world.step(still(world))
    world.reset(seed=11)
    assert np.array_equal(world.images()[camera], first[camera]) and np.array_equal(world.state(), state)
    assert not np.array_equal(other, first[camera])


@pytest.mark.sim
def test_a_step_says_how_far_the_task_is(world) -> None:
    _, info = world.reset(seed=1)
    assert info["is_success"] is False and info["progress"] == 0.0 and isinstance(info["stage"], str)
    _, reward, terminated, truncated, info = world.step(still(world))
    assert isinstance(reward, float) and not terminated and not truncated
    assert info["is_success"] is False and 0.0 <= info["progress"] <= 1.0


@pytest.mark.sim
def test_nothing_is_rendered_until_it_is_looked_at(world, monkeypatch) -> None:
    import mujoco

    world.reset(seed=2)
    rendered: list[int] = []
    for module in (mujoco, mujoco._render):
        monkeypatch.setattr(module, "mjr_render", lambda *args, **_: rendered.append(1))
    world.step(still(world))
    world.reset(seed=3)
    assert not rendered
    world.images()
    assert len(rendered) == (0 if world.name in SEES_ALL_STEPS else 1)


@pytest.mark.sim
def test_the_time_limit_truncates() -> None:
    env = make_environment("aloha/lift_cube", cameras=("top",), patience=0.01)
    env.reset(seed=0)
    hold = load_embodiment("aloha").hold_action(env.state())
    assert [env.step(hold)[3] for _ in range(3)] == [False, False, True]


@pytest.mark.sim
@pytest.mark.parametrize("task", ["button-press-v3", "door-open-v3", "drawer-open-v3", "window-close-v3"])
def test_metaworlds_experts_succeed(task) -> None:
    suite, _ = _installed(f"metaworld/{task}")
    env = make_environment(f"metaworld/{task}")
    for seed in range(2):
        env.reset(seed=seed)
        expert, done = suite.make_expert(env), False
        while not done:
            _, _, done, truncated, info = env.step(expert.act())
            assert not truncated
        assert info == {"is_success": True, "progress": 1.0, "stage": "done"}
    env.close()


@pytest.mark.sim
def test_cameras_that_a_world_lacks_are_named(world) -> None:
    with pytest.raises(UnknownNameError, match=r"camera; got: 'elbow'; allowed: "):
        make_environment(world.name, cameras=("elbow",))
    others = [load_embodiment(name) for name in ("aloha", "sawyer", "planar", "libero_panda")]
    for robot in others:
        if robot.name != WORLDS[world.name]:
            with pytest.raises(ValueError, match=f"robot '{robot.name}' in {world.suite}/.*was trained for"):
                check_world(world, robot)


def _installed(name: str):
    try:
        return find(name)
    except NotInstalledError as error:
        pytest.skip(str(error))
