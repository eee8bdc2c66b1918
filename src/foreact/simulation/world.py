# pyright: reportAttributeAccessIssue=false
# (the compiled part of MuJoCo comes without types)
"""The state of the simulated world, and the questions that environment, tasks and experts ask it."""

import mujoco
import numpy as np

from foreact.simulation import scene
from foreact.simulation.kinematics import Pose

NUM_DOFS = 14
GRIPPER_DOFS = (6, 13)
POINTING_M, POINTING_HEIGHT_M = 0.045, 0.22
"""How near a tip must be to the middle of a bin, in the table's plane and above it, to point at it."""


class World:
    """One model and its state, addressed by the names of things."""

    def __init__(self, num_cubes: int):
        """Start with the arms at rest and the cubes anywhere; `place` comes next."""
        self.model = scene.load_model(num_cubes)
        self.data = mujoco.MjData(self.model)
        self.cubes = tuple(scene.CUBE_COLOURS)[:num_cubes]
        self._arm_qpos = np.concatenate([self.joint_qpos(side, scene.JOINTS) for side in scene.SIDES])
        self._finger_qpos = np.concatenate([self.joint_qpos(side, scene.FINGERS) for side in scene.SIDES])
        self._touchables = [self._touchable(geom) for geom in range(self.model.ngeom)]
        self._cube_friction = self.model.geom(f"cube_{self.cubes[0]}").friction.copy()
        self._ambient = self.model.vis.headlight.ambient.copy()
        self._diffuse = self.model.vis.headlight.diffuse.copy()
        self._camera_positions = self.model.cam_pos.copy()

    def joint_qpos(self, side: str, joints: tuple[str, ...]) -> np.ndarray:
        """Where in `qpos` these joints of one arm are."""
        return np.array([self.model.joint(f"vx300s_{side}/{joint}").qposadr[0] for joint in joints])

    def place(self, pose: np.ndarray, cubes: dict[str, tuple[float, float, float]]) -> None:
        """Reset: arms still at `pose` (an action), cubes on the table at x, y in m and yaw in rad."""
        mujoco.mj_resetData(self.model, self.data)
        for colour in self.cubes:
            self.set_friction(colour, None)
        self.aim(pose)
        fingers = self.data.ctrl.reshape(2, 8)[:, 6:]
        self.data.qpos[self._arm_qpos] = self.data.ctrl.reshape(2, 8)[:, :6].ravel()
        self.data.qpos[self._finger_qpos] = fingers.ravel()
        for colour, (x, y, yaw) in cubes.items():
            quaternion = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
            self.data.joint(f"cube_{colour}").qpos[:] = (x, y, scene.CUBE_HALF_M + 0.001, *quaternion)
        mujoco.mj_forward(self.model, self.data)

    def aim(self, action: np.ndarray) -> None:
        """Make an action the actuators' target: six joints in rad and an opening in [0, 1] for each arm."""
        arms = np.asarray(action, dtype=np.float64).reshape(2, 7)
        control = self.data.ctrl.reshape(2, 8)
        control[:, :6] = arms[:, :6]
        width = scene.FINGER_OPEN_M - scene.FINGER_CLOSED_M
        control[:, 6] = scene.FINGER_CLOSED_M + width * np.clip(arms[:, 6], 0.0, 1.0)
        control[:, 7] = -control[:, 6]

    def advance(self) -> None:
        """Simulate one control step."""
        mujoco.mj_step(self.model, self.data, scene.NUM_SUBSTEPS)
        self._refresh()

    def positions(self) -> np.ndarray:
        """float64 [positions]: everything that can move, in one vector for `show`: joints, then the bins' x and y."""
        return np.concatenate([self.data.qpos, self.data.mocap_pos[:, :2].ravel()])

    def show(self, positions: np.ndarray) -> None:
        """Put everything, cameras too, where `positions()` was at some other time."""
        num_joints = len(self.data.qpos)
        self.data.qpos[:] = positions[:num_joints]
        self.data.mocap_pos[:, :2] = positions[num_joints:].reshape(-1, 2)
        self._refresh()

    def _refresh(self) -> None:
        """Compute where bodies and cameras are; MuJoCo's step leaves them one substep behind the joints."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def move_cube(self, colour: str, position_m: np.ndarray) -> None:
        """Slide a cube that lies on the table to x, y, as a hand would: it keeps its turn and does not fly on."""
        joint = self.data.joint(f"cube_{colour}")
        joint.qpos[:2] = position_m
        joint.qvel[:] = 0

    def bin_position(self, colour: str) -> np.ndarray:
        """Metres: the middle of a bin's floor."""
        return self.data.body(f"bin_{colour}").xpos.copy()

    def move_bin(self, colour: str, position_m: np.ndarray) -> None:
        """Put a bin at x, y on the table."""
        self.data.mocap_pos[self.model.body(f"bin_{colour}").mocapid[0], :2] = position_m

    def push(self, side: str, force_n: np.ndarray) -> None:
        """Push an arm's gripper with a force [3] in N, until told otherwise; zeros end it."""
        self.data.xfrc_applied[self.model.body(f"vx300s_{side}/gripper_link").id, :3] = force_n

    def set_friction(self, colour: str, friction: tuple[float, float, float] | None) -> None:
        """Give a cube its own friction (sliding, torsional, rolling), whatever touches it; None: the usual again."""
        geom = self.model.geom(f"cube_{colour}")
        geom.priority[:] = 0 if friction is None else 1
        geom.friction[:] = self._cube_friction if friction is None else friction

    def change_pictures(self, brightness: float, camera_shift_m: np.ndarray) -> None:
        """Set the light to a factor of the usual, and shift every camera in its own body's frame, in m."""
        self.model.vis.headlight.ambient[:] = brightness * self._ambient
        self.model.vis.headlight.diffuse[:] = brightness * self._diffuse
        self.model.cam_pos[:] = self._camera_positions + camera_shift_m
        self._refresh()

    def measured(self) -> np.ndarray:
        """float32 [14]: joint angles in rad and gripper openings, in the order of an action."""
        arms = self.data.qpos[self._arm_qpos].reshape(2, 6)
        left_right = self.data.qpos[self._finger_qpos].reshape(2, 2)
        finger = (left_right[:, 0] - left_right[:, 1]) / 2
        opening = (finger - scene.FINGER_CLOSED_M) / (scene.FINGER_OPEN_M - scene.FINGER_CLOSED_M)
        return np.concatenate([arms, opening[:, None]], axis=1).ravel().astype(np.float32)

    def light(self, colour: scene.Colour) -> None:
        """Give the lamp a colour."""
        self.model.geom("lamp").rgba[:] = colour

    def tip_position(self, side: str) -> np.ndarray:
        """Metres: the point between an arm's finger tips."""
        return self.data.site(f"tip_{side}").xpos.copy()

    def tip_pose(self, side: str) -> Pose:
        """Where an arm's tip is and how the gripper is turned."""
        rotation = self.data.site(f"tip_{side}").xmat.reshape(3, 3).copy()
        return Pose(position=self.tip_position(side), rotation=rotation)

    def cube_position(self, colour: str) -> np.ndarray:
        """Metres: a cube's centre."""
        return self.data.body(f"cube_{colour}").xpos.copy()

    def cube_yaw(self, colour: str) -> float:
        """Rad in [-pi/4, pi/4): a cube on the table looks the same after a quarter turn, on whichever face it lies."""
        rotation = self.data.body(f"cube_{colour}").xmat.reshape(3, 3)
        x, y, _ = rotation[:, int(np.argmin(np.abs(rotation[2])))]  # its most level axis
        return float((np.arctan2(y, x) + np.pi / 4) % (np.pi / 2) - np.pi / 4)

    def cube_height(self, colour: str) -> float:
        """Metres between the table and a cube that was lifted; 0 while it lies there."""
        return float(self.cube_position(colour)[2]) - scene.CUBE_HALF_M

    def is_above_bin(self, cube: str, bin_colour: str) -> bool:
        """Whether the cube's centre is over that bin, at any height."""
        offset = (self.cube_position(cube) - self.bin_position(bin_colour))[:2]
        return bool(np.abs(offset).max() < scene.BIN_HALF_M)

    def points_at(self, side: str) -> str | None:
        """The bin over whose middle an arm's tip is, no higher than POINTING_HEIGHT_M; None if there is none."""
        tip = self.tip_position(side)
        if tip[2] > POINTING_HEIGHT_M:
            return None
        for colour in scene.BIN_CENTRES_M:
            if np.linalg.norm((tip - self.bin_position(colour))[:2]) < POINTING_M:
                return colour
        return None

    def touching(self, colour: str) -> set[str]:
        """What a cube touches: "left_finger/left" (finger/arm), "arm/left", "table", "bin", "cube"."""
        cube = self.model.geom(f"cube_{colour}").id
        pairs = self.data.contact.geom
        pairs = pairs[(pairs == cube).any(axis=1)]
        return {self._touchables[second if first == cube else first] for first, second in pairs}

    def holds(self, side: str, colour: str) -> bool:
        """Whether both fingers of an arm touch the cube."""
        return self.touching(colour) >= {f"{finger}/{side}" for finger in scene.FINGERS}

    def holds_alone(self, side: str, colour: str) -> bool:
        """Whether both fingers of an arm touch the cube and nothing else does."""
        return self.touching(colour) == {f"{finger}/{side}" for finger in scene.FINGERS}

    def lies_in_bin(self, cube: str, bin_colour: str) -> bool:
        """Whether the cube lies in that bin and no arm touches it."""
        low = self.cube_height(cube) < scene.BIN_HEIGHT_M / 2
        return low and self.is_above_bin(cube, bin_colour) and not any("/" in thing for thing in self.touching(cube))

    def _touchable(self, geom: int) -> str:
        """What a contact with this geom is called."""
        body = self.model.body(self.model.geom_bodyid[geom]).name
        if not body.startswith("vx300s_"):
            return body.split("_")[0]
        side = body.removeprefix("vx300s_").split("/")[0]
        finger = next((name for name in scene.FINGERS if body.endswith(f"{name}_link")), "arm")
        return f"{finger}/{side}"
