# pyright: reportAttributeAccessIssue=false
# (the compiled part of MuJoCo comes without types)
"""Poses of a gripper and the joint angles that reach them."""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from foreact.simulation import scene

ROTATION_WEIGHT_M = 0.3
"""Metres of position error that weigh as much as one rad of rotation error."""

MAX_STEP_M = 0.1
"""The farthest an iteration tries to move the tip, so that goals out of reach do not throw the arm about."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where a gripper's tip is and how the gripper is turned."""

    position: np.ndarray
    """[3] in m."""
    rotation: np.ndarray
    """[3, 3], columns: forward, from finger to finger, and their cross product."""


class ArmKinematics:
    """One arm's kinematics, on simulation data of its own."""

    def __init__(self, model: mujoco.MjModel, side: str):
        """Find the arm's joints and tip; the model is only read."""
        joints = [model.joint(f"vx300s_{side}/{name}") for name in scene.JOINTS]
        self._model, self._data = model, mujoco.MjData(model)
        self._site = model.site(f"tip_{side}").id
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dofs = np.array([joint.dofadr[0] for joint in joints])
        self._low, self._high = np.array([joint.range for joint in joints]).T

    def pose(self, angles: np.ndarray) -> Pose:
        """The tip's pose at six joint angles in rad."""
        self._data.qpos[self._qpos] = angles
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        rotation = self._data.site_xmat[self._site].reshape(3, 3).copy()
        return Pose(position=self._data.site_xpos[self._site].copy(), rotation=rotation)

    def solve(self, angles: np.ndarray, goal: Pose, num_iterations: int = 8, damping: float = 0.03) -> np.ndarray:
        """Six joint angles in rad near `angles` that bring the tip to the goal, by damped least squares.

        Within the joints' limits; a goal out of reach is approached as far as they allow.
        """
        angles = angles.copy()
        jacobian = np.empty((6, self._model.nv))
        for _ in range(num_iterations):
            error = _error(self.pose(angles), goal)
            if np.linalg.norm(error) < 2e-4:
                break
            mujoco.mj_jacSite(self._model, self._data, jacobian[:3], jacobian[3:], self._site)
            arm = jacobian[:, self._dofs]
            arm[3:] *= ROTATION_WEIGHT_M
            step = arm.T @ np.linalg.solve(arm @ arm.T + damping**2 * np.eye(6), error)
            angles = np.clip(angles + step, self._low, self._high)
        return angles


def _error(pose: Pose, goal: Pose) -> np.ndarray:
    """Position error in m, shortened to what one step can follow, and rotation error weighed against it."""
    shift = goal.position - pose.position
    shift = shift / max(1.0, float(np.linalg.norm(shift)) / MAX_STEP_M)
    return np.concatenate([shift, ROTATION_WEIGHT_M * rotation_vector(pose.rotation, goal.rotation)])


def rotation_vector(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Axis times angle in rad of the rotation from one matrix to another, in world axes."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, (end @ start.T).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def turned(start: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """A rotation matrix turned by axis times angle in rad, in world axes."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return start
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, vector / angle, angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3) @ start


def facing(forward: Sequence[float | int], across: Sequence[float | int]) -> np.ndarray:
    """The rotation of a gripper that points `forward` with its fingers apart along `across`."""
    x = np.asarray(forward, dtype=float)
    x = x / np.linalg.norm(x)
    y = np.asarray(across, dtype=float)
    y = y - x * (x @ y)
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def pitched_down(heading_rad: float, pitch_rad: float) -> np.ndarray:
    """A gripper that points to a heading in the table's plane and down by a pitch, fingers level."""
    x, y = np.cos(heading_rad), np.sin(heading_rad)
    return facing((np.cos(pitch_rad) * x, np.cos(pitch_rad) * y, -np.sin(pitch_rad)), (-y, x, 0.0))
