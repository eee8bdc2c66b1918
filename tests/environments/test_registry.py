"""Names of worlds, protocols, and what is said where one cannot be had."""

import re
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint

import gymnasium
import numpy as np
import pytest

from foreact.environments import find, libero, make_environment, protocol_of, registry, suite_names
from foreact.environments.environment import World
from foreact.environments.protocols import PROTOCOLS, EvaluationProtocol
from foreact.environments.registered import RegisteredWorld
from foreact.environments.suites import Request, Suite
from foreact.errors import ConfigurationError, NotInstalledError, SimulationError, UnknownNameError, install_command
from foreact.simulation.disturbances import Disturbance


class Corridor(World):
    """A world of another package: one number says how far along a corridor the robot is."""

    suite, task_name, instruction, control_hz, max_steps = "corridor", "short", "Walk.", 10.0, 3
    cameras = ("eye",)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, task: str, request: Request):
        self.request = request

    def _reset(self, seed: int) -> None:
        self._place = np.random.default_rng(seed).uniform(0, 0.1, 1).astype(np.float32)

    def _step(self, action: np.ndarray) -> tuple[float, bool, float]:
        self._place = self._place + np.float32(action)
        return 0.0, bool(self._place[0] >= 1), float(self._place[0])

    def state(self) -> np.ndarray:
        return self._place


CORRIDOR = Suite(
    name="corridor",
    make=Corridor,
    tasks=lambda: ("short",),
    protocols=("gym-registered",),
    robot=None,
    packages=("numpy", "no-such-package"),
)


@pytest.fixture
def corridor(monkeypatch) -> None:
    module = type(sys)("corridor_package")
    module.SUITE, module.WRONG = CORRIDOR, 3
    monkeypatch.setitem(sys.modules, "corridor_package", module)
    points = [
        EntryPoint("corridor", "corridor_package:SUITE", registry.GROUP),
        EntryPoint("wrong", "corridor_package:WRONG", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def test_a_package_adds_a_suite(corridor) -> None:
    assert "corridor" in suite_names() and "metaworld" in suite_names()
    env = make_environment("corridor/short", patience=2.0)
    assert env.request.patience == 2.0 and env.request.limit("short", 3) == 6
    assert CORRIDOR.versions() == {"numpy": np.__version__, "no-such-package": "none"}
    with pytest.raises(ConfigurationError, match=r"entry point 'wrong'.*got: int"):
        find("wrong/short")


def test_the_shared_part_of_adapters_counts_steps_and_says_how_far_it_is(corridor) -> None:
    env = make_environment("corridor/short")
    observation, info = env.reset(seed=1)
    assert info == {"is_success": False, "progress": 0.0, "stage": "under way"}
    start = observation["agent_pos"]
    _, _, terminated, truncated, info = env.step(np.array(0.5))
    assert (terminated, truncated, info["is_success"]) == (False, False, False)
    assert info["progress"] == pytest.approx(0.5 + start[0])
    _, _, terminated, truncated, info = env.step(np.array(0.5))
    assert (terminated, truncated) == (True, False) and info["progress"] == 1.0 and info["stage"] == "done"
    assert env.step(np.array(0.0))[3] and env.num_steps == 3
    assert not np.array_equal(env.reset(seed=2)[0]["agent_pos"], start)
    env.reset(seed=3)
    drawn = [env.reset()[0]["agent_pos"] for _ in range(2)]
    assert not np.array_equal(*drawn)


def test_what_an_adapter_must_say() -> None:
    for call in (World.state, World.images, lambda world: world._reset(0), lambda world: world._step(np.zeros(1))):
        with pytest.raises(NotImplementedError):
            call(World())


def test_a_name_without_suite_is_ours() -> None:
    assert find("lift_cube")[0].name == "aloha" == find("aloha/lift_cube")[0].name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lift_cub", "unknown task; got: 'lift_cub'.*did you mean 'lift_cube'"),
        ("aloha/lift_cub", "unknown task; got: 'lift_cub'"),
        ("metawrld/x", r"unknown suite of environments; got: 'metawrld'; allowed: aloha, .*gym:PACKAGE/ID"),
        ("gym_aloha/x", "unknown task of gym_aloha; got: 'x'; allowed: AlohaInsertion-v0, AlohaTransferCube-v0"),
    ],
)
def test_unknown_names_list_the_known(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        make_environment(name)


@pytest.mark.parametrize(
    ("name", "package", "cure"),
    [
        ("metaworld/drawer-open-v3", "metaworld", re.escape(install_command("metaworld"))),
        ("libero/object/3", "libero", re.escape(install_command("libero"))),
        ("gym_aloha/AlohaInsertion-v0", "gym_aloha", re.escape(install_command("sim"))),
        ("gym:gym_nowhere/Nothing-v0", "gym_nowhere", "pip install gym_nowhere"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_cure(monkeypatch, name, package, cure) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for module in [each for each in sys.modules if each.startswith(f"{package}.")]:  # imported by tests before this one
        monkeypatch.delitem(sys.modules, module)
    libero.task_names.cache_clear()
    with pytest.raises(NotInstalledError, match=f"{package} is not installed; {cure}"):
        make_environment(name)


@pytest.mark.parametrize("name", ["gym:pusht", "gym:/PushT-v0", "gym:a-b/PushT-v0"])
def test_environments_of_gymnasium_are_named_by_package_and_id(name: str) -> None:
    with pytest.raises(ConfigurationError, match="allowed: gym:PACKAGE/ID"):
        make_environment(name)


def test_environments_that_follow_other_conventions_are_refused() -> None:
    request = Request(protocol=PROTOCOLS["gym-registered"])
    with pytest.raises(ConfigurationError, match=r"gym:gymnasium/CartPole.*obs_type"):
        RegisteredWorld("gymnasium/CartPole-v1", request)


def test_info_must_say_whether_it_is_done() -> None:
    class Silent:
        def step(self, action):
            return {}, 0.0, False, False, {}

    world = object.__new__(RegisteredWorld)
    world.task_name, world._env = "silent/Silent-v0", Silent()
    with pytest.raises(SimulationError, match="gym:silent/Silent-v0; got: no is_success in info"):
        world._step(np.zeros(1))


def test_only_our_own_scene_is_disturbed(corridor) -> None:
    with pytest.raises(ConfigurationError, match=r"disturbance in corridor/short; .*none in this world"):
        make_environment("corridor/short", disturbance=Disturbance(name="nudge"))


def test_protocols_are_for_their_suite() -> None:
    suite, _ = find("lift_cube")
    assert protocol_of(suite, None).name == "aloha-foreact"
    with pytest.raises(UnknownNameError, match="protocol of aloha; got: 'libero-openpi'; allowed: aloha-foreact"):
        protocol_of(suite, "libero-openpi")
    listed = {name for suite in suite_names() for name in registry.get_suite(suite).protocols}
    assert listed | {"gym-registered"} == set(PROTOCOLS)


def test_protocols_say_how_long_and_how_pictures_are_turned() -> None:
    openpi = PROTOCOLS["libero-openpi"]
    assert [openpi.limit(task, 600) for task in ("spatial/0", "10/3", "object_swap/1")] == [220, 520, 600]
    picture = np.arange(12).reshape(2, 2, 3)
    assert np.array_equal(openpi.turn(picture), picture[::-1, ::-1])
    assert np.array_equal(PROTOCOLS["libero-lingbot"].turn(picture), picture[::-1])
    assert PROTOCOLS["aloha-foreact"].turn(picture) is picture


@pytest.mark.parametrize("change", [{"image_size": 0}, {"max_steps": 0}, {"num_trials": 0}, {"settle_steps": -1}])
def test_impossible_protocols_are_refused(change: dict) -> None:
    good = EvaluationProtocol(name="mine", source="here", image_size=8)
    with pytest.raises(ConfigurationError, match=f"{next(iter(change))} of protocol 'mine'"):
        replace(good, **change)
