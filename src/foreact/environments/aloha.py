"""Our own scene: two ViperX arms at a table, at 50 Hz."""

from typing import Any

from foreact.environments.suites import Request, Suite
from foreact.simulation.environment import BimanualEnv
from foreact.simulation.tasks import TASKS


def make(task: str, request: Request) -> BimanualEnv:
    """Build the scene of a task."""
    given: dict[str, Any] = {"cameras": request.cameras, "image_size": request.image_size}
    own = TASKS[task].max_steps
    return BimanualEnv(
        task,
        max_steps=round(request.patience * request.disturbance.extra_time * request.protocol.limit(task, own)),
        disturbance=request.disturbance,
        **{name: value for name, value in given.items() if value is not None},
    )


SUITE = Suite(
    name="aloha",
    make=make,
    tasks=lambda: tuple(TASKS),
    protocols=("aloha-foreact",),
    robot="aloha",
    packages=("foreact", "mujoco", "gym-aloha", "numpy"),
    extra="sim",
)
