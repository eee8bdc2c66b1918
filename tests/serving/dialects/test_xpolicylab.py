"""XPolicyLab's client by our own double of it, and a task that is driven through it."""

from dataclasses import replace

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from foreact.embodiments import ActionCodec, Arm, Dof, Embodiment, Gripper
from foreact.errors import ConfigurationError, InputError, UnknownNameError
from foreact.policy.policy import Policy
from foreact.serving.dialects.numpy_maps import pack, unpack

SIDES = ("left", "right")


@pytest.fixture
def two_arms(tiny):
    """The tiny network on a robot of two arms with joints."""
    robot = tiny.policy().embodiment
    names = [f"{side}_{n}" for side in SIDES for n in range(7)]
    arms = tuple(
        Arm(
            side=side,
            space="joint",
            representation="absolute",
            entries=tuple(range(7 * n, 7 * n + 6)),
            gripper=Gripper(entry=7 * n + 6, open=1.0, closed=0.0),
        )
        for n, side in enumerate(SIDES)
    )
    layout = replace(robot.layout, cameras=("top", "left_wrist"))
    embodiment = Embodiment(
        name="two_arms",
        description="Two arms.",
        dofs=tuple(Dof(name=name) for name in names),
        arms=arms,
        layout=layout,
        timing=robot.timing,
    )
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (50, 30)) * embodiment.channel_mask
    base = tiny.policy()
    return lambda: Policy(base.networks, ActionCodec.fit(embodiment, actions), base.config)


class LabClient:
    """Frames as XPolicyLab's client sends them; the answer must repeat every identifier."""

    def __init__(self, address: str):
        self.socket, self.sent, self.number = connect(address, compression=None, max_size=None), [], 0

    def send(self, kind: str, payload: dict) -> dict:
        self.number += 1
        frame = {
            "message_type": kind,
            "message_id": f"m{self.number}",
            "evaluation_id": "e",
            "action_case_id": "c",
            "trial_id": "t",
            "repeat_index": 0,
            "step": self.number,
            "sent_at": 1.5,
            "payload": payload,
        }
        self.sent.append(kind)
        self.socket.send(pack(frame))
        return frame

    def ask(self, kind: str, payload: dict) -> tuple[str, dict]:
        frame = self.send(kind, payload)
        reply = unpack(self.socket.recv(timeout=30))
        assert reply.keys() == frame.keys()
        assert all(reply[key] == frame[key] for key in frame if key not in ("message_type", "payload"))
        return reply["message_type"], reply["payload"]


class Task:
    """The task object of a simulator: joints go where they are told, cameras show them, twelve steps are enough."""

    def __init__(self, seed: int, num_steps: int = 20):
        self.joints = np.random.default_rng(seed).uniform(0, 1, 14).astype(np.float32)
        self.left, self.num_pictures, self.taken = num_steps, 0, []

    def get_obs(self) -> dict:
        self.num_pictures += 1
        shade = int(100 * abs(np.tanh(self.joints.sum())))
        vision = {
            name: {"color": np.full((24, 32, 3), shade // n, np.uint8)}
            for n, name in enumerate(("cam_head", "cam_left_wrist", "cam_right_wrist"), 1)
        }
        state = {}
        for n, side in enumerate(SIDES):
            state[f"{side}_arm_joint_state"] = self.joints[7 * n : 7 * n + 6]
            state[f"{side}_ee_joint_state"] = self.joints[7 * n + 6 : 7 * n + 7]
        return {"vision": vision, "state": state, "instruction": "push it", "additional_info": {"frequency": 30}}

    def take_action(self, action: dict) -> None:
        parts = [action[f"{side}_{part}_joint_state"] for side in SIDES for part in ("arm", "ee")]
        assert [len(part) for part in parts] == [6, 1, 6, 1]
        self.joints = np.concatenate(parts)
        self.taken.append(self.joints)
        self.left -= 1


def run_trial(client: LabClient, task: Task, seed: int) -> None:
    case = {"task_name": "push", "seed": seed, "instruction": "push it", "action_type": "joint"}
    assert client.ask("prepare_case", case) == ("prepare_case_ack", {"ok": True})
    assert client.ask("reset", {}) == ("reset_result", {"ok": True})
    while task.left > 0:
        kind, payload = client.ask("infer", {"observation": task.get_obs()})
        assert kind == "infer_result"
        for action in payload["actions"]:
            task.take_action(action)
    assert client.ask("trial_end", {"success": True}) == ("trial_end_ack", {"ok": True})


def expected(policy: Policy, task: Task, seed: int) -> None:
    """The same trial by the policy itself, which sees a picture after every camera period."""
    timing, robot = policy.embodiment.timing, policy.embodiment
    names = dict(zip(robot.cameras, ("cam_head", "cam_left_wrist"), strict=True))
    session, seen = policy.start("push it", seed=seed), task.get_obs()
    clips = {camera: seen["vision"][name]["color"][None] for camera, name in names.items()}
    policy.observe_first(session, clips, task.joints)
    while True:
        actions, frames = policy.predict(session).actions, []
        for start in range(0, len(actions), timing.camera_stride):
            for action in actions[start : start + timing.camera_stride]:
                task.joints = action
                task.taken.append(action)
                task.left -= 1
            if task.left <= 0:
                return
            frames.append(task.get_obs()["vision"])
        clips = {camera: np.stack([frame[name]["color"] for frame in frames]) for camera, name in names.items()}
        policy.observe(session, clips, actions)


def test_two_trials_are_what_the_policy_says(two_arms, house, one_thread) -> None:
    client = LabClient(house.server(two_arms(), dialect="xpolicylab").address)
    assert client.ask("hello", {}) == ("hello_ack", {"ok": True, "server": "foreact"})
    for seed in (100_000, 100_001):
        driven, own = Task(seed), Task(seed)
        run_trial(client, driven, seed)
        expected(two_arms(), own, seed)
        assert np.array_equal(np.stack(driven.taken), np.stack(own.taken)), "equal to the last bit"
        assert driven.num_pictures == 20 // 2, "one picture for the actions of a camera period"
    assert client.ask("heartbeat", {}) == ("heartbeat_ack", {"ok": True})
    trial = ["prepare_case", "reset", *["infer"] * 10, "trial_end"]
    assert client.sent == ["hello", *trial, *trial, "heartbeat"]
    client.send("close", {"reason": "done"})
    with pytest.raises(ConnectionClosed):
        client.socket.recv(timeout=10)


def test_what_makes_no_sense_is_an_error_frame_and_the_connection_lives_on(two_arms, house) -> None:
    client = LabClient(house.server(two_arms(), dialect="xpolicylab").address)
    good = Task(0).get_obs()
    wrong_state = good | {"state": good["state"] | {"left_ee_joint_state": np.zeros(2)}}
    for payload, why in [
        ({}, "observation"),
        ({"observation": good | {"vision": {}}}, "vision.cam_head"),
        ({"observation": good | {"vision": {"cam_head": {"color": np.zeros(3)}}}}, "allowed: uint8"),
        ({"observation": wrong_state}, "state.left_ee_joint_state"),
        ({"observation": good | {"state": None}}, "state.left_arm_joint_state"),
        ({"observation": good | {"instruction": 3}}, "instruction"),
    ]:
        kind, stored = client.ask("infer", payload)
        assert kind == "error" and why in stored["message"] and stored["code"] == "bad_observation"
    client.ask("prepare_case", {"seed": -1})
    assert client.ask("infer", {"observation": good})[1]["message"].startswith("seed")
    assert client.ask("dance", {})[0] == "error"
    for data in ("text", b"\xc1", pack({"message_type": "hello"})):
        client.socket.send(data)
        assert unpack(client.socket.recv(timeout=10))["message_type"] == "error"
    assert client.ask("hello", {})[0] == "hello_ack"


def test_robots_that_these_messages_cannot_speak_of_are_refused_at_the_start(tiny, house) -> None:
    with pytest.raises(ConfigurationError, match="dialect xpolicylab; got: 3 numbers an action; allowed: 14"):
        house.server(tiny.policy(), dialect="xpolicylab")
    with pytest.raises(
        UnknownNameError, match=r"unknown dialect; got: 'klingon'; allowed: foreact, lingbot, xpolicylab"
    ):
        house.server(tiny.policy(), dialect="klingon")


def test_arrays_come_back_as_they_were() -> None:
    stored = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(0.5), "c": [np.uint8(3), "x", None]}
    back = unpack(pack(stored))
    assert np.array_equal(back["a"], stored["a"]) and back["a"].dtype == np.float32
    assert back["b"] == 0.5 and back["c"] == [3, "x", None]
    with pytest.raises(TypeError, match="set cannot be sent"):
        pack({1, 2})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({b"type": "O"}, "type of an array"),
        ({b"shape": [3]}, "as many bytes as the shape says"),
        ({b"shape": [-2]}, "as many bytes"),
        ({b"data": "no bytes"}, "as many bytes"),
    ],
)
def test_arrays_that_cannot_be_are_refused(changes: dict, why: str) -> None:
    good = {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [2], b"data": bytes(8)}
    assert unpack(msgpack.packb(good)).shape == (2,)
    with pytest.raises(InputError, match=why):
        unpack(msgpack.packb(good | changes))
    with pytest.raises(InputError, match="msgpack"):
        unpack(b"\xc1")
