"""A bimanual robot in MuJoCo, tasks, scripted experts, demonstrations.

Importing it chooses the OpenGL backend and registers the environments with gymnasium.
"""

from foreact.simulation.graphics import choose_backend

choose_backend()

import gymnasium  # noqa: E402

from foreact.simulation.tasks import TASKS  # noqa: E402

for _task in TASKS.values():
    if _task.gymnasium_id not in gymnasium.registry:
        gymnasium.register(
            id=_task.gymnasium_id,
            entry_point="foreact.simulation.environment:BimanualEnv",
            kwargs={"task": _task.name},
        )
