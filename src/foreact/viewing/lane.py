"""One robot on the page: its bodies in the three-dimensional scene, and its pictures and curves in a panel."""

import time
from collections.abc import Callable

import numpy as np
import viser
from viser import uplot

from foreact.simulation import scene as scene_names
from foreact.simulation.world import World
from foreact.viewing.drawing import film_picture, pair_picture, time_line
from foreact.viewing.engine import PlayEngine
from foreact.viewing.episode import Snapshot
from foreact.viewing.meshes import BodyMesh, body_meshes

CAMERA_HZ = 12.5
"""Pictures a second of the shipped robot: what the film's border goes by."""
PICTURES_PERIOD_S, CURVES_PERIOD_S = 0.15, 0.5
"""Pictures and curves are sent no more often than that; poses every time."""
CURVE_S = 30.0
"""The curve shows the last so many seconds."""
GREEN, RED = (60, 170, 120), (214, 78, 60)
ARM_COLOUR = (62, 66, 74)
"""The scene's arms are nearly black, which hides their shape."""


class Lane:
    """Draws one engine. `update` belongs to the page's thread."""

    def __init__(
        self,
        server: viser.ViserServer,
        engine: PlayEngine,
        title: str,
        *,
        number: int,
        offset_m: tuple[float, float, float],
        on_drag: Callable[[str, np.ndarray], None],
    ):
        """Add the panel; the bodies come with the first episode.

        Args:
            server: Of the page.
            engine: Runs the robot.
            title: Of its panel.
            number: Names its part of the scene.
            offset_m: Where in the scene its world's origin is.
            on_drag: Given a cube and where its x, y in m are wanted, in the robot's own world.
        """
        self.engine, self._server, self._on_drag = engine, server, on_drag
        self._root, self._offset = f"/robot{number}", np.array(offset_m)
        self._frame = server.scene.add_frame(self._root, show_axes=False, position=offset_m)
        self._bodies: dict[int, viser.SceneNodeHandle] = {}
        self._num_cubes, self._lamp = 0, None
        self._poses, self._pictures_at_s, self._curves_at_s = None, 0.0, 0.0
        self._drawn: tuple | None = None
        self.shown: Snapshot | None = None
        """What was shown last."""
        self.panel = server.gui.add_panel()
        self.panel.set_width(340)
        with self.panel.add_tab(title):
            self._status = server.gui.add_markdown("Loading the policy ...")
            blank = np.full((220, 400, 3), 24, np.uint8)
            self._pair = server.gui.add_image(blank, label="At this moment")
            self._film = server.gui.add_image(blank[:100], label="The film being imagined")
            self._attention = server.gui.add_image(
                blank[:100], label="Where it looks for the next action", visible=False
            )
            self._line = server.gui.add_image(blank[:78], label="Time line")
            self._gauge_text = server.gui.add_markdown("")
            self._gauge = server.gui.add_progress_bar(0.0, color=GREEN)
            self._curve = server.gui.add_uplot(
                data=(np.zeros(1), np.zeros(1)),
                series=(
                    uplot.Series(label="time, s"),
                    uplot.Series(label="error, % of full range", stroke="#d64e3c", width=2),
                ),
                title="Error of imagined pictures, % of full range",
                scales={"x": uplot.Scale(time=False), "y": uplot.Scale(range=(0, 15))},
                legend=uplot.Legend(show=False),
                aspect=2.4,
            )

    def remove(self) -> None:
        """Take it off the page."""
        self.panel.remove()
        self._frame.remove()

    def update(self) -> Snapshot:
        """Show what is new, and return it."""
        self.shown = snapshot = self.engine.snapshot()
        drawn, now_s = (snapshot.number, snapshot.phase, snapshot.poses, snapshot.num_chunks), time.monotonic()
        with self._server.atomic():
            self._move_bodies(snapshot)
        if drawn == self._drawn or now_s < self._pictures_at_s:
            return snapshot
        self._pictures_at_s = now_s + PICTURES_PERIOD_S
        self._show_pictures(snapshot)
        if now_s >= self._curves_at_s or snapshot.phase != "running":
            self._curves_at_s = now_s + CURVES_PERIOD_S
            self._show_curves(snapshot)
        self._drawn = drawn
        return snapshot

    # ---- the scene ----

    def _move_bodies(self, snapshot: Snapshot) -> None:
        poses = snapshot.poses
        if poses is None or poses is self._poses:
            return
        self._poses = poses
        num_cubes = len(self.engine.cubes)
        if num_cubes != self._num_cubes:
            self._build(num_cubes)
        for body, handle in self._bodies.items():
            handle.position, handle.wxyz = poses.positions[body], poses.quaternions[body]
        red, green, blue = (int(255 * value) for value in poses.lamp[:3])
        if self._lamp is not None and (red, green, blue) != self._lamp.color:
            self._lamp.color = (red, green, blue)

    def _build(self, num_cubes: int) -> None:
        for handle in self._bodies.values():
            handle.remove()
        self._bodies, self._num_cubes, self._lamp = {}, num_cubes, None
        for mesh in body_meshes(World(num_cubes).model):
            self._bodies[mesh.body] = self._add_mesh(mesh)

    def _add_mesh(self, mesh: BodyMesh) -> viser.MeshHandle:
        colour = ARM_COLOUR if mesh.name.startswith("vx300s") else mesh.colour
        name = mesh.name.replace("/", "_")
        handle = self._server.scene.add_mesh_simple(
            f"{self._root}/{name}",
            mesh.vertices,
            mesh.faces,
            color=colour,
            flat_shading=True,
            cast_shadow=False,
            receive_shadow=False,
        )
        if mesh.name == "lamp":
            self._lamp = handle
        if mesh.name.startswith("cube_"):
            self._make_movable(handle, mesh.name.removeprefix("cube_"))
        return handle

    def _make_movable(self, handle: viser.MeshHandle, cube: str) -> None:
        @handle.on_drag
        def _(event: viser.SceneNodeDragEvent) -> None:
            eye, pointer = np.asarray(event.client.camera.position), np.asarray(event.end_position)
            place = point_on_plane(eye, pointer, height_m=scene_names.CUBE_HALF_M)
            if place is not None:
                self._on_drag(cube, (place - self._offset)[:2])

    # ---- the panel ----

    def _show_pictures(self, snapshot: Snapshot) -> None:
        self._status.content = status_text(snapshot)
        if snapshot.seen is None:
            return
        now = round((snapshot.time_s - snapshot.film_time_s) * CAMERA_HZ)
        self._pair.image = pair_picture(snapshot.seen, snapshot.imagined)
        self._film.image = film_picture(snapshot.film, now)
        self._attention.visible = snapshot.attention is not None
        if snapshot.attention is not None:
            self._attention.image = snapshot.attention

    def _show_curves(self, snapshot: Snapshot) -> None:
        self._line.image = time_line(snapshot.computing, snapshot.standing, snapshot.time_s)
        self._gauge_text.content = gauge_text(snapshot)
        full = 2 * (snapshot.threshold or 1.0)
        value = snapshot.disagreement or 0.0
        self._gauge.value = min(100.0, 100 * value / full)
        self._gauge.color = RED if value > full / 2 else GREEN
        recent = [(at_s, 100 * error) for at_s, error in snapshot.errors if at_s > snapshot.time_s - CURVE_S]
        times, errors = np.array(recent or [(0.0, 0.0)]).T
        self._curve.data = (times, errors)


def status_text(snapshot: Snapshot) -> str:
    """Return in Markdown what the robot is doing."""
    if snapshot.phase == "failed":
        return f"**This cannot be shown.** {snapshot.problem}"
    choices = snapshot.choices
    lines = [
        f"**{snapshot.phase}** · {choices.task}, seed {choices.seed} · {snapshot.time_s:.1f} s",
        f"stage: {snapshot.stage or '-'} ({snapshot.progress:.0%}) · {snapshot.num_chunks} chunks",
    ]
    if snapshot.events:
        lines.append("went wrong: " + "; ".join(snapshot.events))
    if snapshot.late_share is not None:
        lines.append(f"commands over 5 ms late: {snapshot.late_share:.1%}")
    return "  \n".join(lines)


def gauge_text(snapshot: Snapshot) -> str:
    """Return in Markdown how far the last latents were from those imagined."""
    if snapshot.disagreement is None:
        never = snapshot.choices.controller == "open_loop"
        return "Prediction error: " + ("it never looks, so it never knows" if never else "nothing to compare yet")
    text = f"Prediction error of the last chunk: **{snapshot.disagreement:.2f}**"
    return text + (f" (a surprise above {snapshot.threshold:.2f})" if snapshot.threshold is not None else "")


def point_on_plane(eye: np.ndarray, through: np.ndarray, *, height_m: float) -> np.ndarray | None:
    """Return where the line of sight from `eye` through a point meets the level plane at a height, [3] in m.

    None if it never does: the line is level, or points away from the plane.
    """
    drop = through[2] - eye[2]
    if abs(drop) < 1e-9 or (height_m - eye[2]) / drop <= 0:
        return None
    return eye + (height_m - eye[2]) / drop * (through - eye)
