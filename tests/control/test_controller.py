import numpy as np

from foreact.control.controller import Controller, Turn


def test_a_turn_is_what_a_controller_is_told(doubles) -> None:
    brain = doubles.Controller(doubles.config())
    assert isinstance(brain, Controller)
    assert not isinstance(object(), Controller)
    none = np.zeros((0, 2), np.float32)
    turn = Turn(images={}, executed=np.zeros((4, 2), np.float32), under_way=none, prefix=none)
    assert brain.proceed(turn).actions[0].tolist() == [4, 1]
