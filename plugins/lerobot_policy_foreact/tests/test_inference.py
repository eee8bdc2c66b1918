"""The plugin's actions are foreact's own, to the last bit."""

from pathlib import Path

import foreact
import numpy as np
import pytest
import torch
from foreact.control.client import Client
from foreact.control.controller import Turn
from foreact.errors import ConfigurationError, InputError
from foreact.policy.policy import Policy, with_settings
from foreact.serving.background import serving
from foreact.serving.config import ServerConfig
from foreact.types import Observation

from robots import CAMERA, TASK, Robot, seen_by


def driven_directly(policy: Policy, robot: Robot, num_steps: int, *, seed: int, executed: int, task: str = TASK):
    """The loop of foreact's README: a picture every four actions, each one that is executed seen to be so."""
    commands, stride = [], policy.embodiment.timing.camera_stride
    session = policy.start(task, seed=seed)
    policy.observe_first(session, {"top": robot.picture()[None]}, robot.state)
    while len(commands) < num_steps:
        chunk = policy.predict(session).actions[:executed]
        pictures = []
        for number, action in enumerate(chunk, start=1):
            commands.append(action)
            robot.act(action)
            if number % stride == 0:
                pictures.append(robot.picture())
        policy.observe(session, {"top": np.stack(pictures)}, chunk)
    return np.stack(commands)[:num_steps]


def driven_by_lerobot(plugin, robots: list[Robot], num_steps: int, task=TASK) -> np.ndarray:
    """LeRobot's rollout: [robots, steps, dofs]."""
    commands = []
    plugin.reset()
    for _ in range(num_steps):
        with torch.inference_mode():
            actions = plugin.select_action(seen_by(robots, task)).numpy()
        commands.append(actions)
        for robot, action in zip(robots, actions, strict=True):
            robot.act(action)
    return np.stack(commands, axis=1)


@pytest.mark.parametrize("executed", [16, 64])
def test_a_robot_moves_as_under_foreact_itself(make, policy, executed) -> None:
    few = with_settings(policy, video_steps=2, action_steps=2)
    expected = driven_directly(few, Robot(3), 70, seed=5, executed=executed)
    plugin = make(seed=5, n_action_steps=executed)
    given = driven_by_lerobot(plugin, [Robot(3)], 70)
    np.testing.assert_array_equal(given[0], expected)
    assert np.ptp(expected, axis=0).max() > 0.01  # it did move
    again = driven_by_lerobot(plugin, [Robot(3)], 70)  # after reset() nothing is remembered
    np.testing.assert_array_equal(again, given)


def test_several_environments_are_several_robots(make, policy) -> None:
    few, tasks = with_settings(policy, video_steps=2, action_steps=2), [TASK, "Reach the cube.", TASK]
    given = driven_by_lerobot(make(seed=2, n_action_steps=32), [Robot(n) for n in range(3)], 40, tasks)
    for row, task in enumerate(tasks):
        alone = driven_directly(few, Robot(row), 40, seed=2 + row, executed=32, task=task)
        np.testing.assert_allclose(given[row], alone, atol=1e-5)  # a batch adds in another order
    assert np.abs(given[0] - given[2]).max() > 1e-3


def test_the_servers_clients_get_the_same_actions(make, policy) -> None:
    few = with_settings(policy, video_steps=2, action_steps=2)
    robot, commands = Robot(7), []
    with serving(few, ServerConfig(port=0)) as server:
        address = f"127.0.0.1:{server.port}"
        first = Observation(images={"top": robot.picture()}, state=robot.state, time_s=0.0)
        with Client(address, TASK, mode="synchronous", seed=5) as client:
            chunk = client.begin(first)
            for _ in range(2):
                pictures = []
                for number, action in enumerate(chunk.actions, start=1):
                    robot.act(action)
                    commands.append(action)
                    if number % 4 == 0:
                        pictures.append(robot.picture())
                none = chunk.actions[:0]
                turn = Turn(images={"top": np.stack(pictures)}, executed=chunk.actions, under_way=none, prefix=none)
                chunk = client.proceed(turn)
    given = driven_by_lerobot(make(seed=5), [Robot(7)], 128)[0]
    np.testing.assert_array_equal(given, np.stack(commands))


def test_openpis_own_client_gets_the_same_chunk(make, policy) -> None:
    openpi = pytest.importorskip("openpi_client.websocket_client_policy", reason="pip install --no-deps openpi-client")
    robot = Robot(7)
    request = {"observation/images/top": robot.picture(), "observation/state": robot.state, "prompt": TASK, "seed": 5}
    with serving(with_settings(policy, video_steps=2, action_steps=2), ServerConfig(port=0)) as server:
        answer = openpi.WebsocketClientPolicy("127.0.0.1", server.port).infer(request)
    np.testing.assert_array_equal(make(seed=5).predict_action_chunk(seen_by([robot]))[0], answer["actions"])


def test_a_chunk_of_robots_seen_for_the_first_time(make, policy) -> None:
    few = with_settings(policy, video_steps=2, action_steps=2)
    plugin, robot = make(seed=4), Robot(1)
    first = plugin.select_action(seen_by([robot]))
    chunk = plugin.predict_action_chunk(seen_by([robot]))
    assert chunk.shape == (1, 64, 14)
    np.testing.assert_array_equal(chunk[0], driven_directly(few, Robot(1), 64, seed=4, executed=64))
    torch.testing.assert_close(chunk[:, 0], first, rtol=0, atol=0)
    second = plugin.select_action(seen_by([robot]))  # playing back goes on where it was
    torch.testing.assert_close(second, chunk[:, 1], rtol=0, atol=0)


def test_pictures_of_another_size_and_name(make, policy) -> None:
    few, robot = with_settings(policy, video_steps=2, action_steps=2), Robot(1, size=128)
    session = few.start(TASK, seed=0)
    few.observe_first(session, {"top": robot.picture()[None]}, robot.state)
    expected = few.predict(session).actions[0]
    plugin = make(cameras={"top": "observation.images.high"})
    seen = seen_by([robot])
    seen["observation.images.high"] = seen.pop(CAMERA)
    np.testing.assert_array_equal(plugin.select_action(seen)[0], expected)


def test_a_schedule_by_name_and_what_is_saved(make, policy, tmp_path: Path) -> None:
    plugin = make(schedule="turbo", video_steps=None, action_steps=3)
    assert (plugin._acting.config.video_steps, plugin._acting.config.action_steps) == (2, 3)
    plugin.save_pretrained(tmp_path)
    assert foreact.load(tmp_path / "foreact").config == policy.config  # a schedule is how it is run, not what it is


def test_the_instruction_of_the_settings_wins(make) -> None:
    told, asked = make(instruction="Reach the cube."), make()
    robot = Robot(2)
    given = told.select_action(seen_by([robot], "transfer_cube"))
    torch.testing.assert_close(given, asked.select_action(seen_by([robot], "Reach the cube.")), rtol=0, atol=0)
    assert not torch.equal(given, make().select_action(seen_by([robot], "transfer_cube")))


@pytest.mark.parametrize("steps", [0, 8, 80, -16])
def test_action_steps_that_make_no_latent_frames(make, steps) -> None:
    with pytest.raises(ConfigurationError, match="multiple of 16, at most 64"):
        make(n_action_steps=steps)


def test_another_number_of_robots_needs_a_reset(make) -> None:
    plugin = make()
    plugin.select_action(seen_by([Robot(0)]))
    with pytest.raises(InputError, match=r"call reset\(\)"):
        plugin.select_action(seen_by([Robot(0), Robot(1)]))
    plugin.reset()
    assert plugin.select_action(seen_by([Robot(0), Robot(1)])).shape == (2, 14)


def test_what_a_batch_must_hold(make) -> None:
    plugin, seen = make(), seen_by([Robot(0)])
    with pytest.raises(InputError, match=r"no observation.images.top.*observation.state.*policy.cameras"):
        plugin.select_action({key: value for key, value in seen.items() if key != CAMERA})
    with pytest.raises(InputError, match=r"policy\.instruction"):
        plugin.select_action({key: value for key, value in seen.items() if key != "task"})
    for wrong in (seen[CAMERA] * 255, seen[CAMERA] * torch.nan, seen[CAMERA] - 1):
        with pytest.raises(InputError, match="0 to 1"):
            plugin.select_action(seen | {CAMERA: wrong})
