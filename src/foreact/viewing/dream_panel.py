"""The tab "Steer the dream": a policy imagines from a picture, and a person moves the arms of the dream."""

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

import numpy as np
import viser
from viser import uplot

from foreact.errors import InputError
from foreact.evaluation.first_state import typical_state
from foreact.evaluation.live_view import arm_entries
from foreact.policy.policy import Policy
from foreact.viewing.arms import ArmsView
from foreact.viewing.drawing import dream_picture, film_picture
from foreact.viewing.dreaming import DreamStart, SteeredDream, film_from_bytes, infer_arms, picture_from_bytes
from foreact.viewing.starts import NAMES, shipped_start

OFFSET_M = (0.0, -40.0, 0.0)
"""Where in the scene the dream's arms are: far from the simulated robots, so that neither hides the other."""
NOW, OWN = "what the robot sees now", "my own picture"
DECIDE, MOVE = "Let the policy decide", "Move these arms"
INTRODUCTION = (
    "Here nothing is simulated: the network imagines what the camera would see. Begin with a picture, then dream on, "
    "chunk upon chunk. *Let the policy decide*, or set the sliders of the arms and press *Move these arms*: the "
    "network shows what would happen (forward dynamics). The blue arms are where the actions lead. "
    "**Compare the two**: a small network that has only seen experts often goes on imagining the expert, whatever "
    "the arms are told."
)
BLANK = np.full((400, 400, 3), 24, np.uint8)


class DreamPanel:
    """Controls, film and arms of one dream. Callbacks come from viser's threads; `update` from the page's own."""

    def __init__(
        self,
        server: viser.ViserServer,
        tab: viser.GuiTabHandle,
        policy: Policy,
        *,
        robot_sees: Callable[[], DreamStart | None],
        on_begin: Callable[[tuple[float, float, float]], None],
    ):
        """Add everything to a tab; nothing is computed before somebody asks for it.

        Args:
            server: Of the page.
            tab: To fill.
            policy: Dreams; trained for forward dynamics.
            robot_sees: Returns what the simulated robot sees now; None before its first picture.
            on_begin: Told where the dream's arms are when somebody begins to dream.
        """
        self._server, self._policy, self._robot_sees, self._on_begin = server, policy, robot_sees, on_begin
        self._arms = ArmsView(server, "/dream", OFFSET_M)
        self._computing = Lock()
        self._dream: SteeredDream | None = None
        self._own: np.ndarray | None = None
        self._shown: tuple[np.ndarray, np.ndarray, float] | None = None
        """Film [time, height, width, 3], arms [time, dofs] of the same frames, and when it began to be shown, s."""
        self._frame = -1
        with tab:
            self._fill()

    @property
    def dream(self) -> SteeredDream | None:
        """The dream so far; None before the first."""
        return self._dream

    def _fill(self) -> None:
        gui, robot = self._server.gui, self._policy.embodiment
        gui.add_markdown(INTRODUCTION)
        self._picture = gui.add_dropdown("Picture", (*NAMES, NOW, OWN), initial_value=NAMES[0])
        upload = gui.add_upload_button("Give a picture of my own", mime_type="image/*")
        known = self._policy.instructions or ("",)
        self._instruction = gui.add_dropdown("Instruction", known, initial_value=self._start_of(NAMES[0]).instruction)
        steer = gui.add_button_group("Dream on", (DECIDE, MOVE))
        again = gui.add_button("Begin anew")
        self._said = gui.add_markdown("")
        self._now = gui.add_image(BLANK, label="What would be seen")
        self._film = gui.add_image(BLANK[:100], label="The whole dream")
        self._sliders: dict[int, viser.GuiSliderHandle[float]] = {}
        for side, entries in arm_entries(robot).items():
            with gui.add_folder(f"{side} arm".capitalize(), expand_by_default=False):
                self._sliders.update({entry: self._slider(entry) for entry in entries})
        with gui.add_folder("Which arms led there?", expand_by_default=False):
            gui.add_markdown("Inverse dynamics: the network looks at a film alone and says how the arms moved.")
            ask = gui.add_button("Ask of this dream")
            own_film = gui.add_upload_button("Ask of a film of my own", mime_type="video/*")
            self._curve = gui.add_uplot(
                data=(np.zeros(1), np.zeros(1), np.zeros(1)),
                series=(
                    uplot.Series(label="time, s"),
                    uplot.Series(label="told", stroke="#0072B2", width=2),
                    uplot.Series(label="read from the film", stroke="#D55E00", width=2),
                ),
                title="The joint that moves most",
                scales={"x": uplot.Scale(time=False)},
                aspect=2.0,
            )
        self._picture.on_update(lambda _: self._guarded(self.choose))
        self._instruction.on_update(lambda _: self._guarded(self.begin))
        again.on_click(lambda _: self._guarded(self.begin))
        upload.on_upload(lambda event: self._guarded(lambda: self.take_picture(event.target.value.content)))
        steer.on_click(lambda event: self._guarded(self.let_decide if event.target.value == DECIDE else self.move))
        ask.on_click(lambda _: self._guarded(self.ask_of_dream))
        own_film.on_upload(lambda event: self._guarded(lambda: self.ask_of_film(event.target.value.content)))

    def _slider(self, number: int) -> viser.GuiSliderHandle[float]:
        dof, typical = self._policy.embodiment.dofs[number], typical_state(self._policy.codec)
        low, high = (-3.1 if dof.low is None else dof.low), (3.1 if dof.high is None else dof.high)
        value = float(np.clip(typical[number], low, high))
        label = dof.name.replace("_", " ") + (f", {dof.unit}" if dof.unit else "")
        return self._server.gui.add_slider(label, round(low, 2), round(high, 2), 0.01, round(value, 2))

    # ---- what a person asks for ----

    def choose(self) -> None:
        """Begin a dream with the chosen picture and the instruction that belongs to it.

        Raises:
            InputError: There is no picture yet.
        """
        own = self._start_of(self._picture.value).instruction
        if own in self._policy.instructions:
            self._instruction.value = own
        self.begin()

    def begin(self) -> None:
        """Begin a dream with the chosen picture and the chosen instruction.

        Raises:
            InputError: There is no picture yet.
        """
        start = replace(self._start_of(self._picture.value), instruction=self._instruction.value)
        self._dream = SteeredDream(self._policy, start)
        self._set_sliders()
        self._show_dream()
        self._on_begin(OFFSET_M)

    def take_picture(self, content: bytes) -> None:
        """Begin with a picture that somebody gave. The arms are taken to stand in the middle of the training data.

        Raises:
            InputError: It is no picture, or the policy needs pictures of several cameras.
        """
        cameras = self._policy.embodiment.cameras
        if len(cameras) > 1:
            raise InputError("pictures", got="one", allowed=f"one of each camera: {', '.join(cameras)}")
        self._own = picture_from_bytes(content)
        self._picture.value = OWN
        self.begin()

    def let_decide(self) -> None:
        """Dream one chunk on, as the policy would act."""
        self._begun().let_policy_decide()
        self._set_sliders()
        self._show_dream()

    def move(self) -> None:
        """Dream one chunk on, the arms moving to where the sliders are."""
        target = [self._sliders[entry].value for entry in sorted(self._sliders)]
        self._begun().move_arms(np.array(target, np.float32))
        self._show_dream()

    def ask_of_dream(self) -> None:
        """Ask which arms led through the dream, from its pictures alone.

        Raises:
            InputError: Nothing was dreamed yet.
        """
        dream = self._begun()
        inferred = infer_arms(self._policy, dream.frames, dream.start.state, self._instruction.value)
        error = np.abs(inferred - dream.actions[: len(inferred)]).mean()
        self._show_curve(dream.actions[: len(inferred)], inferred)
        self._said.content = (
            f"Read from the pictures: off by {error:.3f} on average over all joints (rad) and grippers."
        )

    def ask_of_film(self, content: bytes) -> None:
        """Ask which arms led through a film, and show them. They are taken to begin in the middle of the training data.

        Raises:
            InputError: It is no film, is too short, or the policy has several cameras.
        """
        camera, *others = self._policy.embodiment.cameras
        timing = self._policy.embodiment.timing
        if others:
            raise InputError("films", got="one", allowed=f"one of each camera: {', '.join([camera, *others])}")
        film, state = {camera: film_from_bytes(content, timing.camera_hz)}, typical_state(self._policy.codec)
        inferred = infer_arms(self._policy, film, state, self._instruction.value)
        shown = dict(self._policy.embodiment.layout.pictures(film))[camera]
        standstill = self._policy.embodiment.hold_action(state)
        self._show(shown[: 1 + len(inferred) // timing.camera_stride].astype(np.uint8), inferred, standstill)
        self._show_curve(inferred, inferred)
        self._said.content = f"{len(inferred)} actions read from {len(shown)} frames: the blue arms make them."
        self._on_begin(OFFSET_M)

    # ---- what is shown ----

    def update(self) -> None:
        """Let the film and the arms go on, at the pace of the camera, again and again."""
        shown = self._shown
        if shown is None:
            return
        film, arms, begun_s = shown
        hz = self._policy.embodiment.timing.camera_hz
        frame = min(int((time.monotonic() - begun_s) * hz), len(film) - 1)
        if frame != self._frame:
            self._frame = frame
            self._now.image = dream_picture(film[frame], frame / hz, is_given=frame == 0)
            self._arms.pose(arms[frame])

    def _guarded(self, call: Callable[[], None]) -> None:
        """Do one thing at a time, and say what went wrong where the person looks."""
        if not self._computing.acquire(blocking=False):
            return
        try:
            self._said.content = "Computing ..."
            call()
            if self._said.content == "Computing ...":
                self._said.content = self._summary()
        except Exception as error:
            self._said.content = f"**That does not work.** {error}"
        finally:
            self._computing.release()

    def _begun(self) -> SteeredDream:
        """Return the dream; begin one if there is none."""
        if self._dream is None:
            self.begin()
        assert self._dream is not None
        return self._dream

    def _start_of(self, name: str) -> DreamStart:
        if name == OWN:
            if self._own is None:
                raise InputError("picture of your own", got="none", cure="give one: PNG or JPEG")
            camera = self._policy.embodiment.cameras[0]
            words = self._instruction.value
            return DreamStart(images={camera: self._own}, state=typical_state(self._policy.codec), instruction=words)
        if name == NOW:
            seen = self._robot_sees()
            if seen is None:
                raise InputError("picture of the robot", got="none yet", cure="wait until it has begun")
            return seen
        return shipped_start(name, self._policy.embodiment)

    def _summary(self) -> str:
        dream = self._dream
        if dream is None or not len(dream.actions):
            return "Dream on: choose who moves the arms."
        seconds = len(dream.actions) / self._policy.embodiment.timing.action_hz
        return f"{seconds:.1f} s dreamed. Nothing was looked at after the first picture: errors add up."

    def _set_sliders(self) -> None:
        if self._dream is not None:
            for entry, slider in self._sliders.items():
                slider.value = float(np.clip(self._dream.pose[entry], slider.min, slider.max))

    def _show_dream(self) -> None:
        dream = self._begun()
        film = dream.frames[self._policy.embodiment.cameras[0]]
        self._show(np.asarray(film, np.uint8), dream.actions, self._policy.embodiment.hold_action(dream.start.state))

    def _show(self, film: np.ndarray, actions: np.ndarray, standstill: np.ndarray) -> None:
        """Play a film from its last chunk on, with the arms of each frame."""
        stride, hz = self._policy.embodiment.timing.camera_stride, self._policy.embodiment.timing.camera_hz
        arms = np.concatenate([standstill[None], actions[stride - 1 :: stride]])
        per_chunk = self._policy.actions_per_chunk // stride
        self._frame = -1
        self._shown = (film, arms, time.monotonic() - max(0, len(film) - 1 - per_chunk) / hz)
        self._film.image = film_picture(film[:: max(1, -(-len(film) // 16))], -1)

    def _show_curve(self, details: np.ndarray, inferred: np.ndarray) -> None:
        most = int(np.argmax(np.ptp(inferred, axis=0)))
        times = np.arange(len(inferred)) / self._policy.embodiment.timing.action_hz
        self._curve.title = self._policy.embodiment.dof_names[most].replace("_", " ")
        self._curve.data = (times, details[:, most].astype(np.float64), inferred[:, most].astype(np.float64))
