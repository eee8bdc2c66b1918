"""The page in the browser: the robot in three dimensions, what it sees, what it imagined, and what one can ask of it.

It draws what the player shows, twenty times a second, and passes on what is asked; it holds nothing of the episode. Any
number of browsers may look, or none.
"""

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np

from foreact.errors import ConfigurationError
from foreact.simulation.scene import CUBE_HALF_M
from foreact.simulation.tasks import TASKS
from foreact.viewing.player import Episode, Player, Shown
from foreact.viewing.scene import body_names, visible_shapes

FRAMES_PER_S = 20
PICTURE_SIZE = 256
"""Pixels along a side of the two pictures on the page."""
DISTURBANCES = ("none", "nudge", "slip", "push", "strong")
SURPRISING = 1.0
"""Disagreement at which the gauge is full, where the policy was not calibrated."""
CAMERA_AT_M, LOOKING_AT_M = (0.65, -0.75, 0.6), (0.05, 0.05, 0.08)


class Page:
    """One page for one player, served until it is closed."""

    def __init__(self, player: Player, *, tasks: tuple[str, ...], host: str = "127.0.0.1", port: int = 8080):
        """Serve the page.

        Args:
            player: Plays; stays the caller's.
            tasks: That can be chosen.
            host: Address to listen on; 127.0.0.1 is this machine alone.
            port: Of it.

        Raises:
            ConfigurationError: Viser is not installed.
        """
        self._viser = _import_viser()
        self.player, self._tasks = player, tasks
        self.server: Any = self._viser.ViserServer(host=host, port=port, verbose=False)
        self._threshold = player.policy.config.disagreement_threshold or SURPRISING
        self._world_of: str | None = None
        self._bodies: list[Any] = []
        self._is_dragging_until_s = 0.0
        self._num_plotted = -1
        self._closing = threading.Event()
        self._build()
        self._thread = threading.Thread(target=self._draw_on, name="foreact-page", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def close(self) -> None:
        """End the page; the player goes on."""
        self._closing.set()
        self._thread.join(timeout=5)
        self.server.stop()

    def _build(self) -> None:
        server, gui = self.server, self.server.gui
        gui.configure_theme(control_layout="fixed", control_width="large", show_logo=False, show_share_button=False)
        gui.set_panel_label("foreact: imagine, then act")
        server.scene.set_up_direction("+z")
        server.scene.add_grid("/floor", width=2.0, height=2.0, position=(0, 0, -0.02), cell_color=(220, 220, 225))

        @server.on_client_connect
        def _(client: Any) -> None:
            client.camera.position, client.camera.look_at = CAMERA_AT_M, LOOKING_AT_M

        self.status = gui.add_markdown("")
        self.run_button = gui.add_button("Run", color="green")
        self.chunk_button = gui.add_button("One chunk")
        self.reset_button = gui.add_button("Same start again")
        self.task = gui.add_dropdown("Task", self._tasks, initial_value=self.player.shown.episode.task)
        self.loop = gui.add_dropdown("Loop", ("closed loop", "open loop"), initial_value=self.player.shown.episode.loop)
        self.disturbance = gui.add_dropdown("Disturbance", DISTURBANCES, initial_value="none")
        self.seed = gui.add_number("Seed", self.player.shown.episode.seed, min=0, step=1)
        shown = side_by_side(self.player.shown)
        self.pictures = gui.add_image(shown, label="What the camera sees, and what was imagined for this moment")
        self.gauge_label = gui.add_markdown("Surprise: nothing was imagined yet.")
        self.gauge = gui.add_progress_bar(0.0)
        self.curve = gui.add_uplot(
            data=(np.arange(2.0), np.zeros(2)),
            series=({"label": "chunk"}, {"label": "disagreement", "stroke": "#0072b2", "width": 2}),
            title="Surprise after each chunk",
            aspect=2.4,
        )
        self.handle = server.scene.add_transform_controls(
            "/hand", scale=0.12, active_axes=(True, True, False), disable_rotations=True
        )
        self.run_button.on_click(lambda _: self._toggle())
        self.chunk_button.on_click(lambda _: self.player.play_chunk())
        self.reset_button.on_click(lambda _: self._begin())
        for chooser in (self.task, self.loop, self.disturbance, self.seed):
            chooser.on_update(lambda _: self._begin())
        self.handle.on_update(lambda _: self._drag())

    def _toggle(self) -> None:
        if self.player.shown.state in ("computing", "executing"):
            self.player.pause()
        else:
            self.player.play()

    def _begin(self) -> None:
        episode = Episode(
            task=self.task.value, loop=self.loop.value, disturbance=self.disturbance.value, seed=int(self.seed.value)
        )
        self.player.begin(episode)

    def _drag(self) -> None:
        self._is_dragging_until_s = time.monotonic() + 0.5
        x_m, y_m, _ = self.handle.position
        self.player.move_cube(float(x_m), float(y_m))

    def _draw_on(self) -> None:
        while not self._closing.wait(1 / FRAMES_PER_S):
            with self.server.atomic():
                self.draw(self.player.shown)

    def draw(self, shown: Shown) -> None:
        """Bring the page up to date with an instant."""
        if self._world_of != shown.episode.task:
            self._build_scene(shown.episode.task)
        for frame, position, quaternion in zip(self._bodies, shown.positions_m, shown.quaternions, strict=True):
            frame.position, frame.wxyz = tuple(position), tuple(quaternion)
        if time.monotonic() > self._is_dragging_until_s:
            cube = self.player.world.model.body(f"cube_{self.player.world.cubes[0]}").id
            self.handle.position = tuple(shown.positions_m[cube] + np.array([0, 0, CUBE_HALF_M]))
        self.pictures.image = side_by_side(shown)
        self.run_button.label = "Pause" if shown.state in ("computing", "executing") else "Run"
        self.status.content = status_of(shown)
        if len(shown.disagreements) != self._num_plotted:
            self._plot(shown)

    def _plot(self, shown: Shown) -> None:
        self._num_plotted = len(shown.disagreements)
        if not shown.disagreements:
            return
        last = shown.disagreements[-1]
        self.gauge.value = float(np.clip(100 * last / self._threshold, 0, 100))
        self.gauge_label.content = (
            f"Surprise: {last:.2f} (full at {self._threshold:.2f}, where 99 of 100 frames stay below)"
        )
        values = np.array([0.0, *shown.disagreements])
        self.curve.data = (np.arange(len(values), dtype=np.float64), values)

    def _build_scene(self, task: str) -> None:
        scene, world = self.server.scene, self.player.world
        for frame in self._bodies:
            frame.remove()
        names = body_names(world)
        self._bodies = [scene.add_frame(f"/bodies/{number}", show_axes=False) for number in range(len(names))]
        place = {name: number for number, name in enumerate(names)}
        for shape in visible_shapes(world):
            scene.add_mesh_simple(
                f"/bodies/{place[shape.body]}/{shape.name}",
                shape.vertices_m.astype(np.float32),
                shape.faces.astype(np.uint32),
                color=shape.colour,
                flat_shading=True,
                position=tuple(shape.position_m),
                wxyz=tuple(shape.quaternion),
            )
        self._world_of = task


def status_of(shown: Shown) -> str:
    """Return in words what happens, for the head of the page."""
    state = {"computing": "thinking", "executing": "moving"}.get(shown.state, shown.state)
    parts = [f"**{state}**", f"{shown.num_steps / 50:.1f} s"]
    if shown.stage:
        parts.append(f"next: {shown.stage}")
    if shown.chunk_ms:
        parts.append(f"a chunk took {shown.chunk_ms:.0f} ms")
    if shown.num_late:
        parts.append(f"{shown.num_late} of {shown.num_steps} commands late")
    return " · ".join(parts)


def side_by_side(shown: Shown) -> np.ndarray:
    """Return what is seen and, right of it, what was imagined for the same moment; grey where nothing was."""
    nothing = np.full((PICTURE_SIZE, PICTURE_SIZE, 3), 235, np.uint8)
    imagined = nothing if shown.imagined is None else enlarged(shown.imagined)
    gap = np.full((PICTURE_SIZE, 8, 3), 255, np.uint8)
    return np.concatenate([enlarged(shown.camera), gap, imagined], axis=1)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Return a picture enlarged by a whole factor, so that each of the policy's pixels can be seen."""
    factor = max(1, PICTURE_SIZE // picture.shape[0])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def playable_tasks(policy_instructions: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tasks that a policy was trained on; all of them where that was not recorded."""
    trained = tuple(name for name, task in TASKS.items() if task.instruction in policy_instructions)
    return trained or tuple(TASKS)


def first_episode(tasks: tuple[str, ...], **changes: Any) -> Episode:
    """Return the episode that the page begins with: lifting the cube, where that can be chosen."""
    return replace(Episode(task="lift_cube" if "lift_cube" in tasks else tasks[0]), **changes)


def _import_viser() -> Any:
    try:
        import viser
    except ImportError as error:
        raise ConfigurationError(
            "page", got="viser is not installed", cure="install it: pip install 'foreact[play]'"
        ) from error
    return viser
