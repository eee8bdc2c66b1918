"""Runs, one after another: each a session on the policy server and a control loop in a thread of its own."""

import json
import logging
from collections.abc import Callable
from threading import Lock, Thread
from typing import Any

from foreact.control.client import Client
from foreact.control.clock import Clock, RealClock
from foreact.control.config import ControlConfig
from foreact.control.dialogue import Placed
from foreact.control.drive import drive
from foreact.control.emergency import EmergencyStop
from foreact.control.link import Patience
from foreact.control.protocol import Facts
from foreact.control.report import DriveReport
from foreact.control.worker import ThreadWorker, Worker
from foreact.errors import ConfigurationError, ForeactError
from foreact_ros2.settings import BridgeSettings
from foreact_ros2.topics_robot import TopicsRobot

_log = logging.getLogger(__name__)


class Runs:
    """Starts and stops the robot. Every method returns at once, but `close`; any thread may call any."""

    def __init__(
        self,
        robot: TopicsRobot,
        settings: BridgeSettings,
        *,
        tell_disagreement: Callable[[float], None],
        tell_report: Callable[[str], None],
        clock: Clock | None = None,
        make_worker: Callable[[Clock], Worker] = ThreadWorker,
    ):
        """Run nothing yet.

        Args:
            robot: What is driven.
            settings: How.
            tell_disagreement: Called with every chunk's, from the control loop: it must be quick.
            tell_report: Called with JSON at the end of every run: why, and what was counted if it came so far.
            clock: None: the machine's.
            make_worker: Computes the turns of one run.
        """
        self._robot, self._settings = robot, settings
        self._tell_disagreement, self._tell_report = tell_disagreement, tell_report
        self._clock, self._make_worker = clock or RealClock(), make_worker
        self._lock = Lock()
        self._instruction = settings.instruction
        self._pressed, self._closed, self._driving = False, False, False
        self._thread: Thread | None = None
        self._emergency = EmergencyStop()

    @property
    def running(self) -> bool:
        """Whether a run is under way, coming to rest included."""
        return self._thread is not None and self._thread.is_alive()

    def instruct(self, instruction: str) -> None:
        """Take an instruction for the next run; if it is another than the present one's, that comes to its end."""
        with self._lock:
            changed, self._instruction = instruction != self._instruction, instruction
        if changed and self.running:
            self.stop("there is another instruction; start anew")

    def start(self) -> tuple[bool, str]:
        """Begin a run; return whether it was, and why not."""
        with self._lock:
            obstacles = {
                "the emergency stop is pressed": self._pressed,
                "a run is under way": self.running,
                "there is no instruction": not self._instruction.strip(),
                "the bridge is being closed": self._closed,
            }
            if reasons := [reason for reason, there in obstacles.items() if there]:
                return False, "; ".join(reasons)
            self._emergency = EmergencyStop()
            run = (self._instruction, self._emergency)
            self._thread = Thread(target=self._run, args=run, name="foreact-run", daemon=True)
            self._thread.start()
            return True, f"started: {self._instruction}"

    def stop(self, reason: str) -> tuple[bool, str]:
        """End the run under way, if there is one; the robot comes to rest and is held."""
        with self._lock:
            if not self.running:
                return True, "no run is under way"
            self._emergency.stop(reason)
            return True, f"stopping: {reason}"

    def press(self, pressed: bool) -> None:
        """Take in the state of the emergency stop. Pressed, it ends the run, and none begins until it is released."""
        with self._lock:
            self._pressed = pressed
            if pressed:
                self._emergency.stop("emergency stop")
        if not pressed:
            self._robot.hear_release()

    def close(self, *, wait_s: float = 10.0) -> bool:
        """End the run under way, and begin none any more; return whether the robot is at rest.

        Args:
            wait_s: Seconds that this may take.
        """
        with self._lock:
            self._closed = True
        self.stop("the bridge is being closed")
        if self._driving and self._thread is not None:  # a run that has not begun to move never will
            self._thread.join(wait_s)
        return not self._driving

    def _run(self, instruction: str, emergency: EmergencyStop) -> None:
        try:
            with self._connect(instruction) as client:
                config = self._check(client.facts)
                self._robot.begin(client.facts.action_names, emergency)
                self._robot.wait()
                if emergency.reason is None:
                    report = self._drive(client, config, emergency)
                    self._end(report.reason, **_counted(report))
                else:
                    self._end(f"it did not begin: {emergency.reason}")
        except ForeactError as error:
            self._end(str(error))
        except Exception as error:
            _log.exception("a mistake of the bridge")
            self._end(f"a mistake of the bridge: {error!r}")

    def _connect(self, instruction: str) -> Client:
        settings = self._settings
        try:
            token = settings.token_file.read_text().strip() if settings.token_file else None
        except OSError as error:
            raise ConfigurationError("parameter token_file", got=str(error), allowed="a file with the token") from error
        return Client(
            settings.server,
            instruction,
            mode=settings.mode,
            seed=settings.seed,
            token=token,
            certificate=settings.certificate,
            read_state=lambda: self._robot.state,
            patience=Patience(give_up_s=settings.wait_s),
        )

    def _check(self, facts: Facts) -> ControlConfig:
        """Return how to drive, if this robot is the policy's.

        Raises:
            ConfigurationError: The policy has other actions or cameras, or actions that are no absolute positions.
        """
        named = [joint.action for joint in self._settings.joints]
        if set(named) != set(facts.action_names):
            raise ConfigurationError("joints of the bridge", got=named, allowed=f"the policy's: {facts.action_names}")
        if not facts.state_is_action or facts.state_names != facts.action_names:
            got = f"{facts.embodiment}: {facts.action_names}"
            raise ConfigurationError("actions of the policy", got=got, allowed="absolute positions of the joints")
        if missing := set(facts.cameras) - {camera.name for camera in self._settings.cameras}:
            cure = "add them to the parameters"
            raise ConfigurationError(f"the bridge lacks cameras {', '.join(sorted(missing))}", cure=cure)
        limits = self._settings.limits(facts.action_names)
        return facts.control_config(watchdog_s=self._settings.watchdog_s, limits=limits)

    def _drive(self, client: Client, config: ControlConfig, emergency: EmergencyStop) -> DriveReport:
        self._driving = True
        try:
            return drive(
                self._robot,
                client,
                config,
                clock=self._clock,
                worker=self._make_worker(self._clock),
                standstill=self._robot.state,
                emergency=emergency,
                on_chunk=self._note,
            )
        finally:
            self._driving = False

    def _note(self, placed: Placed) -> None:
        if placed.chunk.disagreement is not None:
            self._tell_disagreement(placed.chunk.disagreement)
        if placed.late:
            _log.warning("chunk %d came late", placed.index)

    def _end(self, reason: str | None, **counted: float) -> None:
        _log.warning("the run has ended, the robot is held: %s", reason)
        self._tell_report(json.dumps({"reason": reason, **counted}))


def _counted(report: DriveReport) -> dict[str, Any]:
    numbers = {name: value for name, value in vars(report).items() if name.startswith(("num_", "worst_"))}
    more = ("num_executed", "idle_share", "late_share")
    return numbers | {name: getattr(report, name) for name in more}
