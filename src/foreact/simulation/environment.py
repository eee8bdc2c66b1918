"""The simulated robot behind a gymnasium interface, controlled at 50 Hz by absolute joint targets."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from foreact.errors import ConfigurationError, InputError, SimulationError, check_seed
from foreact.simulation import scene
from foreact.simulation.disturbances import Disturbance, Disturber, Event
from foreact.simulation.judge import Judge
from foreact.simulation.rendering import CAMERAS, Photographer
from foreact.simulation.starts import Start, draw_start
from foreact.simulation.tasks import get_task
from foreact.simulation.world import NUM_DOFS, World

OBS_TYPES = ("state", "pixels_agent_pos")
DISTURBANCE_STREAM = 2
"""Sets the draws of what goes wrong apart from those of how an episode starts."""


class BimanualEnv(gymnasium.Env):
    """Two ViperX arms at a table. Reward 1 at success, else 0; an episode may be continued after its end."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": scene.CONTROL_HZ}  # noqa: RUF012

    def __init__(
        self,
        task: str = "lift_cube",
        *,
        cameras: Sequence[str] = CAMERAS,
        image_size: int = 128,
        obs_type: str = "state",
        render_mode: str | None = None,
        max_steps: int | None = None,
        disturbance: Disturbance | str = "none",
    ):
        """Build the scene of a task; nothing is rendered until pictures are asked for.

        Args:
            task: A name in `tasks.TASKS`.
            cameras: Which cameras take pictures.
            image_size: Height and width of a picture in pixels.
            obs_type: "state" or, with pictures in the observation, "pixels_agent_pos".
            render_mode: "rgb_array" or None; `render` returns the first camera's picture.
            max_steps: Control steps after which an episode is cut off; None: the task's own, longer where disturbances
                may make another try necessary.
            disturbance: What goes wrong on the way, or its name: a level or a kind.

        Raises:
            UnknownNameError: There is no such task or camera.
            ConfigurationError: The observation type, the picture size or the disturbance cannot be.
        """
        if obs_type not in OBS_TYPES:
            raise ConfigurationError("obs_type", got=repr(obs_type), allowed=", ".join(OBS_TYPES))
        self.task = get_task(task)
        self.disturbance = Disturbance(name=disturbance) if isinstance(disturbance, str) else disturbance
        self.max_steps = max_steps or round(self.disturbance.extra_time * self.task.max_steps)
        self.obs_type = obs_type
        self.render_mode = render_mode
        self.world = World(self.task.num_cubes)
        self._photographer = Photographer(self.world.model, tuple(cameras), image_size)
        self.action_space = self._action_space()
        self.observation_space = self._observation_space()
        self.start: Start | None = None
        self.start_seed = 0
        """What the draws of this episode beside its start come from: the seed given to `reset`."""
        self.num_steps = 0

    suite = "aloha"
    """The suite of `foreact.environments` that the tasks belong to."""
    control_hz = float(scene.CONTROL_HZ)
    num_starts = None
    """Every seed is another start."""

    @property
    def task_name(self) -> str:
        """Name of the task."""
        return self.task.name

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that take pictures."""
        return self._photographer.cameras

    @property
    def instruction(self) -> str:
        """What the robot is told in this episode."""
        return self.task.instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; the same seed begins the same one. Returns (observation, info).

        Raises:
            ConfigurationError: The seed is below 0.
        """
        check_seed(seed or 0)
        super().reset(seed=seed)
        self.start = draw_start(self.task, self.np_random)
        self.world.place(self.start.pose, self.start.cubes)
        # A generator of its own: whatever goes wrong, the episode of a seed starts the same.
        self.start_seed = int(self.np_random.integers(2**32)) if seed is None else seed
        rng = np.random.default_rng([self.start_seed, DISTURBANCE_STREAM])
        self._disturber = Disturber(self.disturbance, self.start, self.world.cubes, rng)
        self.world.change_pictures(self._disturber.brightness, self._disturber.camera_shift_m)
        self.num_steps = 0
        self._judge = Judge(self.task)
        self._show_lamp()
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Execute one action for 20 ms. Returns (observation, reward, terminated, truncated, info).

        Raises:
            SimulationError: There was no reset.
            InputError: The action is not 14 finite numbers.
        """
        start = self._started()
        self.world.aim(checked_action(action))
        self._disturber.before_step(self.world, self.num_steps)
        self.world.advance()
        self.num_steps += 1
        self._show_lamp()
        self._judge.watch(self.world, start.bins)
        success = self._judge.success
        truncated = self.num_steps >= self.max_steps
        return self._observation(), float(success), success, truncated, self._info()

    @property
    def events(self) -> list[Event]:
        """What has gone wrong in this episode so far, without the robot's doing."""
        return self._disturber.events

    @property
    def succeeded(self) -> bool:
        """Whether the episode's final condition has been met."""
        return self._judge.success

    def state(self) -> np.ndarray:
        """float32 [14]: measured joint angles in rad and gripper openings."""
        return self.world.measured()

    def images(self) -> dict[str, np.ndarray]:
        """What each camera sees now, uint8 [height, width, 3].

        Raises:
            SimulationError: No offscreen rendering on this machine.
        """
        return self._photographer.take(self.world.data)

    def render(self) -> np.ndarray | None:
        """The first camera's picture in render mode "rgb_array"."""
        return self.images()[self.cameras[0]] if self.render_mode == "rgb_array" else None

    def recall(self, positions: np.ndarray, num_steps: int) -> None:
        """Show an instant of this episode again, for pictures only; call `reset` before stepping on.

        Args:
            positions: `world.positions()` at that instant.
            num_steps: Control steps from the start to it.

        Raises:
            SimulationError: There was no reset.
        """
        self._started()
        self.num_steps = num_steps
        self.world.show(positions)
        self._show_lamp()

    def close(self) -> None:
        """Free the renderer; call it in the thread that took the pictures."""
        self._photographer.close()

    def _started(self) -> Start:
        if self.start is None:
            raise SimulationError("step before reset", cure="call reset(seed=...) first")
        return self.start

    def _show_lamp(self) -> None:
        self.world.light(self._started().lamp_colour(self.num_steps))

    def _observation(self) -> dict[str, Any]:
        if self.obs_type == "state":
            return {"agent_pos": self.state()}
        return {"agent_pos": self.state(), "pixels": self.images()}

    def _info(self) -> dict[str, Any]:
        num_done, total = self._judge.num_done, len(self.task.stages)
        progress = {"stages_done": num_done, "num_stages": total, "progress": num_done / total}
        events = [event.to_dict() for event in self.events]
        done = self._judge.success
        return {"stage": self._judge.stage, **progress, "success": done, "is_success": done, "disturbances": events}

    def _action_space(self) -> gymnasium.spaces.Box:
        limits = self.world.model.actuator_ctrlrange.reshape(2, 8, 2)[:, :7].copy()
        limits[:, 6] = (0.0, 1.0)
        low, high = limits.reshape(NUM_DOFS, 2).T.astype(np.float32)
        return gymnasium.spaces.Box(low, high, dtype=np.float32)

    def _observation_space(self) -> gymnasium.spaces.Dict:
        spaces: dict[str, gymnasium.Space] = {
            "agent_pos": gymnasium.spaces.Box(-np.inf, np.inf, (NUM_DOFS,), np.float32)
        }
        if self.obs_type == "pixels_agent_pos":
            picture = gymnasium.spaces.Box(0, 255, (*self._photographer.shape, 3), np.uint8)
            spaces["pixels"] = gymnasium.spaces.Dict(dict.fromkeys(self.cameras, picture))
        return gymnasium.spaces.Dict(spaces)


def checked_action(action: np.ndarray) -> np.ndarray:
    """The action as float64 [14].

    Raises:
        InputError: It is not 14 finite numbers.
    """
    try:
        values = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("action", got=type(action).__name__, allowed="14 numbers") from error
    if values.shape != (NUM_DOFS,):
        raise InputError("action", got=f"shape {values.shape}", allowed=f"shape ({NUM_DOFS},)")
    if not np.isfinite(values).all():
        raise InputError("action", got=values.tolist(), allowed="finite numbers")
    return values
