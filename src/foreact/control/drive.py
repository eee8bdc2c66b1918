"""The control loop: a robot is driven by a controller that computes while the robot moves."""

from collections.abc import Callable

import numpy as np

from foreact.control.clock import Clock
from foreact.control.config import ControlConfig
from foreact.control.controller import Controller
from foreact.control.dialogue import Dialogue, Placed
from foreact.control.emergency import EmergencyStop
from foreact.control.executor import Executor
from foreact.control.report import DriveReport
from foreact.control.robot import Robot
from foreact.control.worker import Worker


def drive(
    robot: Robot,
    controller: Controller,
    config: ControlConfig,
    *,
    clock: Clock,
    worker: Worker,
    standstill: np.ndarray | None = None,
    emergency: EmergencyStop | None = None,
    on_chunk: Callable[[Placed], None] | None = None,
) -> DriveReport:
    """Drive until the robot is done or stopped; return what was counted.

    However it ends, the robot is brought to rest first and the worker is closed. Whatever the controller, the robot
    or `on_chunk` raised is raised again after that.

    Args:
        robot: At its starting position; its `act` must return well within a tick.
        controller: Decides; called by the worker.
        config: How.
        clock: Real or virtual.
        worker: Computes the turns; closed at the end.
        standstill: The command that holds the robot where it stands, float32 [num_dofs], given while the first chunk
            is awaited; None: no command until then.
        emergency: A switch by which another thread can stop the robot.
        on_chunk: Told every answer as it takes effect, between two ticks: it must be quick.

    Raises:
        ConfigurationError: Motion is limited and there is no `standstill`.
        InputError: `standstill` is outside the workspace, or the controller's answer cannot be used.
    """
    emergency = emergency or EmergencyStop()
    executor = Executor(robot, config, clock, emergency=emergency, standstill=standstill)
    dialogue = Dialogue(controller, worker, config, executor)
    worker_ended = False
    try:
        if executor.running:
            dialogue.begin(robot.observe(), clock.now())
        while executor.running:
            images = executor.wait()
            if images is not None:
                dialogue.see(images)
            for placed in dialogue.exchange(clock.now()):
                if on_chunk:
                    on_chunk(placed)
            executor.tick(dialogue.awaited, dialogue.stand_tick)
    except BaseException as error:
        error.add_note(f"the robot was stopped after {executor.queue.next_tick} actions")
        raise
    finally:
        try:
            executor.rest()
        finally:
            worker_ended = worker.close()
    return executor.tally.report(emergency.reason, worker_ended=worker_ended)
