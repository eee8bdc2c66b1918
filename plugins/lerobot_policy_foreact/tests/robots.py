"""Robots in miniature, what LeRobot shows of them, and a dataset of them."""

from pathlib import Path

import numpy as np
import torch
from foreact.data.episodes import EpisodeDataset
from foreact.data.recorder import DatasetWriter
from foreact.policy.policy import Policy

CAMERA = "observation.images.top"
TASK = "Pick up the white cube."
LENGTHS = (70, 41, 97)


class Robot:
    """Its joints go where they are told; its camera shows them."""

    def __init__(self, seed: int, size: int = 64):
        self.state = np.random.default_rng(seed).uniform(0.1, 0.9, 14).astype(np.float32)
        self._backdrop = np.random.default_rng(seed).integers(0, 60, (size, size, 3), dtype=np.uint8)

    def picture(self) -> np.ndarray:
        seen = self._backdrop.copy()
        for number, joint in enumerate(self.state):
            seen[4 * number : 4 * number + 4, : 8 + int(abs(joint) * 40) % 50] += np.uint8(90 + 6 * number)
        return seen

    def act(self, action: np.ndarray) -> None:
        self.state = self.state + np.float32(0.2) * (action - self.state)


def seen_by(robots: list[Robot], task: str | list[str] = TASK) -> dict:
    """What LeRobot shows a policy at a step."""
    pictures = torch.from_numpy(np.stack([robot.picture() for robot in robots])).permute(0, 3, 1, 2)
    states = torch.from_numpy(np.stack([robot.state for robot in robots]))
    tasks = [task] * len(robots) if isinstance(task, str) else task
    return {CAMERA: pictures.float() / 255, "observation.state": states, "task": tasks}


def record(root: Path, policy: Policy, lengths: tuple[int, ...] = LENGTHS) -> EpisodeDataset:
    """Robots that move smoothly, recorded by foreact."""
    names = list(policy.embodiment.dof_names)
    with DatasetWriter.create_or_resume(
        root,
        fps=50,
        robot_type="aloha",
        features={"observation.state": names, "action": names},
        cameras={CAMERA: (64, 64)},
    ) as writer:
        for number, length in enumerate(lengths):
            robot, states, actions, pictures = Robot(number), [], [], []
            for row in range(length):
                action = (0.5 + 0.4 * np.sin(row / 15 + np.arange(14) + number)).astype(np.float32)
                states.append(robot.state)
                actions.append(action)
                pictures.append(robot.picture())
                robot.act(action)
            columns = {"observation.state": np.stack(states), "action": np.stack(actions)}
            told = "Reach the cube." if number % 2 else TASK
            writer.add_episode(columns=columns, videos={CAMERA: iter(pictures)}, instruction=told)
    return EpisodeDataset(root)
