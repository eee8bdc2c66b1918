"""A policy of foreact behind RoboTwin's own interface: `policy/foreact/deploy_policy.py` in a checkout of RoboTwin.

RoboTwin's evaluation script calls `get_model` once, then for each episode `reset_model`, and `eval` again and again
until the task is done or its time is up. RMBench and other programs built on RoboTwin before July 2026 do the same;
later ones ask a policy server, which is `foreact serve --dialect xpolicylab`.
"""

from typing import Any

import numpy as np

import foreact

CAMERAS = {
    "cam_high": "head_camera",
    "top": "head_camera",
    "cam_left_wrist": "left_camera",
    "left_wrist": "left_camera",
    "cam_right_wrist": "right_camera",
    "right_wrist": "right_camera",
}
"""What RoboTwin calls the cameras of our robot files."""
JOINTS = 14
"""Entries of an action that sets joints and grippers; one of poses and grippers has sixteen."""


class Model:
    """One robot under one policy, an episode at a time."""

    def __init__(self, policy: foreact.Policy):
        """Begin no episode yet."""
        self.policy, self.session, self.num_episodes = policy, None, 0
        self.action_type = "qpos" if policy.embodiment.num_dofs == JOINTS else "ee"


def get_model(usr_args: dict[str, Any]) -> Model:
    """Load the policy that `policy_path` in deploy_policy.yml names: a folder, or a name on the hub."""
    return Model(foreact.load(usr_args["policy_path"], device=usr_args.get("device", "cpu")))


def reset_model(model: Model) -> None:
    """Forget the episode; the next one gets noise of its own."""
    if model.session is not None:
        model.num_episodes += 1
    model.session = None


def encode_obs(observation: dict[str, Any], model: Model) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return one picture of each of the policy's cameras, and the robot's state in the order of its actions."""
    seen = observation["observation"]
    images = {camera: np.ascontiguousarray(seen[CAMERAS[camera]]["rgb"]) for camera in model.policy.embodiment.cameras}
    if model.action_type == "qpos":
        return images, np.asarray(observation["joint_action"]["vector"], dtype=np.float32)
    hands = observation["endpose"]
    parts = [[*hands[f"{side}_endpose"], hands[f"{side}_gripper"]] for side in ("left", "right")]
    return images, np.concatenate(parts).astype(np.float32)


def eval(TASK_ENV: Any, model: Model, observation: dict[str, Any]) -> None:  # noqa: A001, RUF100
    """Execute one chunk: see, imagine, act; of every few actions the policy sees one picture."""
    policy = model.policy
    if model.session is None:
        images, state = encode_obs(observation, model)
        model.session = policy.start(TASK_ENV.get_instruction(), seed=model.num_episodes)
        policy.observe_first(model.session, {camera: image[None] for camera, image in images.items()}, state)
    actions, frames = policy.predict(model.session).actions, []
    for number, action in enumerate(actions, 1):
        TASK_ENV.take_action(action, action_type=model.action_type)
        if TASK_ENV.eval_success or TASK_ENV.take_action_cnt >= TASK_ENV.step_lim:
            return
        if number % policy.embodiment.timing.camera_stride == 0:
            frames.append(encode_obs(TASK_ENV.get_obs(), model)[0])
    clips = {camera: np.stack([frame[camera] for frame in frames]) for camera in frames[0]}
    policy.observe(model.session, clips, actions)
