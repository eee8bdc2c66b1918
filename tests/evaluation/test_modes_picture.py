from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from foreact.embodiments import ActionCodec
from foreact.evaluation.modes import ask_chunks
from foreact.evaluation.modes_picture import draw_modes, liveliest_chunk
from foreact.policy.policy import Policy


def test_the_liveliest_chunk_is_found_before_anything_is_asked(tiny) -> None:
    sequence = replace(tiny.sequence(8), latents=torch.zeros(4, 8, 4, 4))
    sequence.latents[:, 3] = 0.5
    sequence.latents[:, 6:] = 2.0
    assert liveliest_chunk(sequence, 2) == (pytest.approx(1.0), slice(5, 7))
    assert liveliest_chunk(sequence.crop(0, 2), 2)[0] == 0


def test_a_robot_whose_actions_count_from_its_first_pose_is_drawn_in_model_units(tiny, tmp_path) -> None:
    """The picture of any other robot is drawn in the test of the command."""
    robot = tiny.embodiment()
    robot = replace(robot, arms=tuple(replace(arm, representation="relative") for arm in robot.arms))
    corners = np.zeros((2, 30))
    corners[1] = 1.0
    codec = ActionCodec.fit(robot, corners * robot.channel_mask)
    policy = Policy(tiny.networks(), codec, tiny.inference(forward_dynamics=True))
    sequence = tiny.sequence(5)
    *_, answers = ask_chunks(policy, sequence, seed=0)
    draw_modes(tmp_path / "modes.png", policy, sequence, answers)
    with Image.open(tmp_path / "modes.png") as picture:
        assert picture.height > 800 and len(picture.convert("RGB").getcolors(1 << 24)) > 200
