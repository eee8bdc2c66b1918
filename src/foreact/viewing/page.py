"""The page of `foreact play`: three-dimensional scene, panels and controls in any browser, made of viser's parts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import RLock

import numpy as np
import viser

from foreact.policy.policy import Policy
from foreact.simulation.disturbances import NAMES
from foreact.viewing.choices import PlayChoices, possible_controllers, possible_tasks
from foreact.viewing.dream_panel import DreamPanel
from foreact.viewing.dreaming import DreamStart
from foreact.viewing.engine import LONGEST_LATENCY_S, PlayEngine
from foreact.viewing.lane import Lane

PERIOD_S = 0.05
"""Between two looks at the engines."""
ALONE, BESIDE_BLIND, BESIDE_REACTIVE = "one robot", "beside one that never looks", "beside one that does not imagine"
SECOND_OFFSET_M = (0.0, 1.3, 0.0)
FAR_EYE_M = (0.1, -1.9, 1.9)
"""From where both robots are seen."""
FILM, RECORDING = "Film", "Rerun recording"
"""What an episode can be saved as."""
CONTROLLERS = {
    "looks, waits for each chunk": "synchronous",
    "never looks (open loop)": "open_loop",
    "acts while it computes, naive": "naive",
    "acts while it computes, grounded": "grounded",
    "grounded, and goes on from decided actions": "prefixed",
}
"""What the page calls the controllers."""
EYE_M, LOOK_AT_M = (0.1, -0.75, 1.0), (0.02, 0.5, 0.0)
REACTIVE_POLICY = "tiny-reactive"
INTRODUCTION = (
    "A small network drives this robot now, on your machine. It **imagines** what the camera will see, then acts. "
    "**Drag the white cube** with the mouse while the robot is on its way to it."
)


class PlayPage:
    """The page, and the engines that it shows. `update` is called again and again by one thread."""

    def __init__(
        self,
        load_policy: Callable[[str], Policy],
        choices: PlayChoices,
        *,
        policies: tuple[str, ...],
        host: str = "127.0.0.1",
        port: int = 8080,
        films: Path = Path("outputs/play"),
        urgent: bool = True,
    ):
        """Open the port and start the first episode.

        Args:
            load_policy: Returns the policy of a name; keeps those that it has loaded.
            choices: Of the first episode.
            policies: Names to choose from.
            host: Address to listen on; the default is reached from this machine alone.
            port: To listen on; the next free one if it is taken.
            films: Folder for saved episodes.
            urgent: Let the control loops go before all other threads of the machine, where that is permitted.
        """
        self._load_policy, self._policies, self._films, self._urgent = load_policy, policies, films, urgent
        self._choices, self._lock = choices, RLock()
        self._latency_s, self._speed = 0.0, 1.0
        self._offset_m = (0.0, 0.0, 0.0)
        """Of the world that is looked at."""
        self._server = viser.ViserServer(host=host, port=port, label="foreact play", verbose=False)
        self._set_up_scene()
        self.lanes: list[Lane] = [self._open_lane(choices, "The robot", 0)]
        self._add_controls()
        self.dream_panel = self._add_dream_panel()
        self.lanes[0].panel.dock_left()
        self._server.gui.main_panel.dock_right()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.get_port()

    def update(self) -> None:
        """Show what is new."""
        with self._lock:
            for lane in self.lanes:
                lane.update()
        if self.dream_panel is not None:
            self.dream_panel.update()

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Show what is new until told to end."""
        while not until():
            self.update()
            time.sleep(PERIOD_S)

    def close(self) -> None:
        """End the episodes and close the port."""
        with self._lock:
            for lane in self.lanes:
                lane.engine.__exit__()
            self.lanes = []
        self._server.stop()

    # ---- inside ----

    def _set_up_scene(self) -> None:
        gui, scene = self._server.gui, self._server.scene
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(38, 110, 160))
        scene.set_up_direction("+z")
        # Plain lights instead of viser's picture of a surrounding and its shadows: a browser without a GPU needs half a
        # minute of a core to prepare those.
        scene.configure_environment_map(None)
        scene.configure_default_lights(cast_shadow=False)
        scene.add_light_hemisphere("/sky", sky_color=(255, 255, 255), ground_color=(150, 150, 160), intensity=1.6)
        self._server.initial_camera.position = EYE_M
        self._server.initial_camera.look_at = LOOK_AT_M
        scene.add_grid("/floor", width=6, height=6, position=(0, 0.5, -0.76), cell_color=(225, 228, 232))

    def _open_lane(self, choices: PlayChoices, title: str, number: int) -> Lane:
        engine = PlayEngine(self._load_policy, choices, urgent=self._urgent)
        engine.set_latency(self._latency_s)
        engine.set_speed(self._speed)
        engine.watch_attention(number > 0 and self._watch.value)
        engine.__enter__()
        offset_m = SECOND_OFFSET_M if number else (0.0, 0.0, 0.0)
        return Lane(self._server, engine, title, number=number, offset_m=offset_m, on_drag=self._move_cube)

    def _add_dream_panel(self) -> DreamPanel | None:
        """Add the tab of dreams, if a policy here was trained for forward dynamics."""
        able = [name for name in self._policies if self._load_policy(name).config.trained.forward_dynamics]
        if not able:
            return None
        policy = self._load_policy(able[0])
        tab = self.lanes[0].panel.add_tab("Steer the dream")
        return DreamPanel(self._server, tab, policy, robot_sees=self._robot_sees, on_begin=self._look_at_dream)

    def _robot_sees(self) -> DreamStart | None:
        """Return what the first robot sees now, and where it stands."""
        return self.lanes[0].engine.present()

    def _look_at_dream(self, offset_m: tuple[float, float, float]) -> None:
        """Pause the simulated robots, and look at the arms of the dream."""
        self._each("Pause")
        self._look_from(EYE_M, offset_m)

    def _move_cube(self, cube: str, place: np.ndarray) -> None:
        """Move the cube in every world, so that what the robots do can be compared."""
        for lane in self.lanes:
            if cube in lane.engine.cubes:
                lane.engine.move_cube(cube, (float(place[0]), float(place[1])))

    def _add_controls(self) -> None:
        gui = self._server.gui
        gui.set_panel_label("foreact play")
        gui.add_markdown(INTRODUCTION)
        run = gui.add_button_group("Run", ("Go", "Pause", "One chunk"))
        run.on_click(lambda event: self._each(event.target.value))
        begin = gui.add_button_group("Begin", ("Again", "Next seed"))
        begin.on_click(lambda event: self._begin(event.target.value))
        self._beside = gui.add_dropdown("Show", (ALONE, BESIDE_BLIND, BESIDE_REACTIVE))
        self._beside.on_update(lambda _: self._restart())
        with gui.add_folder("Policy"):
            self._add_policy_controls()
        with gui.add_folder("World"):
            self._add_world_controls()
        self._watch = gui.add_checkbox("Show where it looks", False)
        self._watch.on_update(lambda _: self._set_watch())
        save = gui.add_button_group("Save", (FILM, RECORDING))
        save.on_click(lambda event: self._save(event.target.value, event.client))

    def _add_policy_controls(self) -> None:
        gui, choices = self._server.gui, self._choices
        policy = self._load_policy(choices.policy)
        self._policy = gui.add_dropdown("Policy", self._policies, initial_value=choices.policy)
        self._policy.on_update(lambda _: self._change_policy())
        names = _controller_names(policy)
        self._controller = gui.add_dropdown("Controller", names, initial_value=_name_of(choices.controller))
        self._latency = gui.add_slider("Latency, ms", 0, int(1000 * LONGEST_LATENCY_S), 50, 0)
        self._latency.on_update(lambda _: self._set_latency())
        config = policy.config
        self._video_steps = gui.add_slider("Video steps", 1, 10, 1, min(10, config.video_steps))
        self._s_stop = gui.add_slider("Imagine up to", 0.1, 1.0, 0.1, round(config.s_stop, 1))
        self._action_steps = gui.add_slider("Action steps", 1, 10, 1, min(10, config.action_steps))
        self._controller.on_update(lambda _: self._restart())
        for slider in (self._video_steps, self._s_stop, self._action_steps):
            slider.on_update(lambda _: self._restart())

    def _add_world_controls(self) -> None:
        gui, choices = self._server.gui, self._choices
        tasks = possible_tasks(self._load_policy(choices.policy))
        self._task = gui.add_dropdown("Task", tasks, initial_value=choices.task)
        self._disturbance = gui.add_dropdown("Goes wrong", NAMES, initial_value=choices.disturbance)
        self._speed_slider = gui.add_slider("Speed", 0.1, 1.0, 0.1, 1.0)
        self._speed_slider.on_update(lambda _: self._set_speed())
        for each in (self._task, self._disturbance):
            each.on_update(lambda _: self._restart())

    def _each(self, word: str) -> None:
        if word != "Pause" and any(self._offset_m):  # back from the dream
            self._look_from(EYE_M if len(self.lanes) == 1 else FAR_EYE_M)
        verbs = {"Go": PlayEngine.resume, "Pause": PlayEngine.pause, "One chunk": PlayEngine.next_chunk}
        for lane in self.lanes:
            verbs[word](lane.engine)

    def _begin(self, word: str) -> None:
        if word == "Next seed":
            self._choices = replace(self._choices, seed=self._choices.seed + 1)
        self._restart()

    def _set_latency(self) -> None:
        self._latency_s = self._latency.value / 1000
        for lane in self.lanes:
            lane.engine.set_latency(self._latency_s)

    def _set_speed(self) -> None:
        self._speed = self._speed_slider.value
        for lane in self.lanes:
            lane.engine.set_speed(self._speed)

    def _set_watch(self) -> None:
        for lane in self.lanes:
            lane.engine.watch_attention(self._watch.value)

    def _change_policy(self) -> None:
        """Offer what the new policy can do, its own steps first."""
        policy = self._load_policy(self._policy.value)
        names, tasks = _controller_names(policy), possible_tasks(policy)
        with _silenced(self):
            if self._controller.value not in names:
                self._controller.value = names[0]
            self._controller.options = names
            if self._task.value not in tasks:
                self._task.value = tasks[0]
            self._task.options = tasks
            self._video_steps.value = min(10, policy.config.video_steps)
            self._s_stop.value = round(policy.config.s_stop, 1)
            self._action_steps.value = min(10, policy.config.action_steps)
        for slider in (self._video_steps, self._s_stop):
            slider.disabled = not policy.config.trained.imagines
        self._restart()

    def _restart(self) -> None:
        """Begin anew with what is chosen."""
        if self._silent:
            return
        with self._lock:
            self._choices = replace(
                self._choices,
                policy=self._policy.value,
                task=self._task.value,
                controller=CONTROLLERS[self._controller.value],
                video_steps=self._video_steps.value,
                s_stop=self._s_stop.value,
                action_steps=self._action_steps.value,
                disturbance=self._disturbance.value,
            )
            self.lanes[0].engine.restart(self._choices)
            self._show_second(self._second_choices())

    def _second_choices(self) -> PlayChoices | None:
        if self._beside.value == BESIDE_BLIND:
            return replace(self._choices, controller="open_loop")
        if self._beside.value == BESIDE_REACTIVE:
            own = {"video_steps": None, "s_stop": None, "action_steps": None}
            return replace(self._choices, policy=REACTIVE_POLICY, controller="synchronous", **own)
        return None

    def _show_second(self, choices: PlayChoices | None) -> None:
        if choices is not None and len(self.lanes) == 2:
            self.lanes[1].engine.restart(choices)
        elif choices is not None:
            title = "It never looks" if choices.controller == "open_loop" else "It does not imagine"
            self.lanes.append(self._open_lane(choices, title, 1))
            self.lanes[1].panel.dock_left()
            self._look_from(FAR_EYE_M)
        elif len(self.lanes) == 2:
            lane = self.lanes.pop()
            lane.engine.__exit__()
            lane.remove()
            self._look_from(EYE_M)

    def _look_from(
        self, eye_m: tuple[float, float, float], offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> None:
        """Move every tab's view, also of tabs still to come: from `eye_m` in the world that stands at `offset_m`."""
        self._offset_m = offset_m
        self._server.initial_camera.position = np.add(eye_m, offset_m)
        self._server.initial_camera.look_at = np.add(LOOK_AT_M, offset_m)
        for client in self._server.get_clients().values():
            client.camera.position = np.add(eye_m, offset_m)
            client.camera.look_at = np.add(LOOK_AT_M, offset_m)

    def _save(self, kind: str, client: viser.ClientHandle | None) -> None:
        """Write the first robot's episode into the folder of films, and tell the tab that asked."""
        choices, engine = self._choices, self.lanes[0].engine
        path = self._films / f"{choices.task}-{choices.seed}-{choices.controller}"
        try:
            if kind == FILM:
                saved = engine.save_film(path.with_suffix(".mp4"))
            else:
                saved = engine.save_recording(path.with_suffix(".rrd"))
            text, colour = f"Saved: {saved.result()}", "green"
        except Exception as error:
            text, colour = str(error), "red"
        if client is not None:
            client.add_notification(kind, text, color=colour)

    _silent = False


@contextmanager
def _silenced(page: PlayPage) -> Iterator[None]:
    """Let controls be set without each of them beginning an episode."""
    page._silent = True
    try:
        yield
    finally:
        page._silent = False


def _controller_names(policy: Policy) -> tuple[str, ...]:
    possible = possible_controllers(policy)
    return tuple(name for name, mode in CONTROLLERS.items() if mode in possible)


def _name_of(controller: str) -> str:
    return next(name for name, mode in CONTROLLERS.items() if mode == controller)
