"""The tab of dreams, without a browser: what its buttons do."""

import io

import numpy as np
import pytest
from PIL import Image

import foreact

pytest.importorskip("viser")

import viser

from foreact.errors import InputError
from foreact.viewing.dream_panel import NOW, OFFSET_M, OWN, DreamPanel
from foreact.viewing.starts import shipped_start

pytestmark = pytest.mark.sim


@pytest.fixture
def panel():
    server = viser.ViserServer(port=0, verbose=False)
    begun, policy = [], foreact.load("tiny")
    seen = {"now": None}
    made = DreamPanel(
        server,
        server.gui.add_panel().add_tab("dream"),
        policy,
        robot_sees=lambda: seen["now"],
        on_begin=begun.append,
    )
    made.begun, made.seen = begun, seen
    yield made
    server.stop()


def test_a_dream_is_steered_and_its_arms_are_read(panel) -> None:
    panel.begin()
    assert panel.begun == [OFFSET_M] and len(panel.dream.frames["top"]) == 1
    panel._guarded(panel.let_decide)
    assert len(panel.dream.actions) == 64 and "1.3 s dreamed" in panel._said.content
    entry = next(iter(panel._sliders))
    wanted = panel._sliders[entry].value + 0.2
    panel._sliders[entry].value = wanted
    panel._guarded(panel.move)
    assert panel.dream.actions[-1, entry] == pytest.approx(wanted, abs=1e-5) and len(panel.dream.actions) == 128
    panel._shown = (*panel._shown[:2], panel._shown[2] - 60)  # a minute later the film has reached its end
    panel.update()
    assert panel._frame == 32 and panel._arms.is_shown
    panel._guarded(panel.ask_of_dream)
    assert "off by 0.0" in panel._said.content and len(panel._curve.data[0]) == 128


def test_pictures_of_ones_own_and_of_the_robot(panel) -> None:
    panel._picture.value = NOW
    assert "picture of the robot; got: none yet" in panel._said.content
    panel._picture.value = OWN
    assert "picture of your own; got: none" in panel._said.content
    panel.seen["now"] = shipped_start("transfer_cube", panel._policy.embodiment)
    panel._picture.value = NOW
    assert panel.dream.start.instruction == panel.seen["now"].instruction == panel._instruction.value
    file = io.BytesIO()
    Image.fromarray(np.full((90, 120, 3), 90, np.uint8)).save(file, format="JPEG")
    panel._guarded(lambda: panel.take_picture(file.getvalue()))
    assert panel._picture.value == OWN and panel.dream.frames["top"].shape == (1, 64, 64, 3)
    other = next(words for words in panel._policy.instructions if words != panel._instruction.value)
    panel._instruction.value = other
    assert panel.dream.start.instruction == other


def test_a_film_of_ones_own_moves_the_arms(panel, film_bytes) -> None:
    panel._guarded(lambda: panel.ask_of_film(b"nothing"))
    assert "That does not work" in panel._said.content
    panel._guarded(lambda: panel.ask_of_film(film_bytes(np.full((14, 64, 64, 3), 90, np.uint8), 25)))
    assert "16 actions read from" in panel._said.content
    assert len(panel._shown[0]) == len(panel._shown[1]) == 5


def test_policies_of_several_cameras_need_more_than_one_picture(panel, tiny) -> None:
    panel._policy = tiny.policy(forward_dynamics=True)
    for give in (panel.take_picture, panel.ask_of_film):
        with pytest.raises(InputError, match="one of each camera: top, wrist"):
            give(b"")
