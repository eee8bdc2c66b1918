"""The page in a real browser: Chromium without a screen clicks, drags and looks; nothing in it is imitated.

Nothing waits for a fixed time: a click is made, then the page is watched until it shows what the click asked for. The
scene is drawn at a third of its resolution, and the world goes slowly, because here Chromium draws with the processor
that also runs the policy. Pictures for the documents are taken in a tab of full resolution while the world is paused.
"""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from foreact.simulation.world import World

pytestmark = [pytest.mark.sim, pytest.mark.browser]
SCREENSHOTS = os.environ.get("FOREACT_SCREENSHOTS")
"""A folder for pictures of the page, docs/pictures for example; none are taken without it."""
COARSE = "?fixedDpr=0.3"
"""Tells viser how many pixels of the scene to draw per pixel of the window."""

NOT_OURS = {
    "Unable to preventDefault inside passive event listener": "viser's own dragging of objects; the drag works",
    "GPU stall due to ReadPixels": "Chromium remarks that it draws without a GPU",
    "Automatic fallback to software WebGL": "the same",
    "THREE.": "three.js remarks on its own names that will change",
    "Multiple instances of Three.js": "viser bundles it once more for its lines",
    "Permissions policy": "a browser feature that viser asks about and Chromium lacks",
}
"""Words of a message to the browser's console, and why it is no fault of the page."""


def keep(chromium, open_page, name: str) -> None:
    if not SCREENSHOTS:
        return
    view = chromium.new_page(viewport={"width": 1280, "height": 800})
    view.set_default_timeout(900_000)
    view.goto(open_page.address)
    view.get_by_text("One chunk").wait_for()
    time.sleep(8)  # every shape has arrived and is drawn
    for notice in view.locator(".mantine-Notification-closeButton").all():
        notice.click()  # viser remarks that there is no GPU
    time.sleep(2)
    view.screenshot(path=Path(SCREENSHOTS) / f"{name}.jpg", type="jpeg", quality=80)
    view.close()


@pytest.fixture
def tab(chromium, open_page):
    view = chromium.new_page(viewport={"width": 1280, "height": 800})
    view.set_default_timeout(900_000)
    view.problems = []
    view.on("console", lambda said: view.problems.append(said.text) if said.type in ("error", "warning") else None)
    view.on("pageerror", lambda error: view.problems.append(str(error)))
    view.goto(open_page.address + COARSE)
    view.get_by_text("One chunk").wait_for()
    yield view
    assert [problem for problem in view.problems if not any(words in problem for words in NOT_OURS)] == []
    view.close()


def cube_of(open_page) -> np.ndarray:
    return open_page.shown().poses.positions[World(1).model.body("cube_white").id]


def pixel_of(view, page, place: np.ndarray) -> tuple[float, float]:
    """Where in the tab a point of the scene is drawn."""
    from foreact.viewing.page import EYE_M, LOOK_AT_M

    (client,) = page._server.get_clients().values()
    forward = np.subtract(LOOK_AT_M, EYE_M)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right = right / np.linalg.norm(right)
    down = np.cross(forward, right)
    x, y, depth = (float(axis @ (place - EYE_M)) for axis in (right, down, forward))
    canvas = view.locator("canvas").first.bounding_box()
    focal = canvas["height"] / 2 / np.tan(client.camera.fov / 2)
    middle = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    return middle[0] + focal * x / depth, middle[1] + focal * y / depth


def press(tab, open_page, word: str, reached) -> None:
    """Press a button and wait until the page shows what it asks for."""
    tab.get_by_role("button", name=word, exact=True).click()
    open_page.until(reached)


def drag(tab, open_page, start: tuple[float, float], end: tuple[float, float], reached) -> None:
    """Drag with the left button as a hand would, and hold still at the end until the page has followed."""
    tab.mouse.move(*start)
    time.sleep(0.5)  # a frame is drawn, in which viser notes what lies under the pointer
    tab.mouse.down()
    for part in np.linspace(0, 1, 9)[1:]:
        tab.mouse.move(*(np.asarray(start) + part * np.subtract(end, start)))
        time.sleep(0.3)
    open_page.until(reached)
    tab.mouse.up()


def begin_paused(tab, open_page) -> None:
    """Begin the episode anew and pause it while the robot is on its way."""
    open_page.until(lambda: open_page.shown() and open_page.shown().num_chunks >= 1)
    number = open_page.shown().number
    press(tab, open_page, "Again", lambda: open_page.shown().number > number and open_page.shown().num_chunks >= 1)
    press(tab, open_page, "Pause", lambda: open_page.shown().phase == "paused")


def is_over(shown) -> bool:
    return shown.phase in ("succeeded", "time up")


def test_an_episode_runs_and_its_cube_is_dragged(tab, open_page, chromium) -> None:
    begin_paused(tab, open_page)
    before = cube_of(open_page).copy()
    target = before + np.array([0.05 if before[0] < 0.15 else -0.05, 0.05 if before[1] < 0.5 else -0.05, 0])
    start, end = (pixel_of(tab, open_page.page, place) for place in (before, target))
    drag(tab, open_page, start, end, lambda: np.linalg.norm(cube_of(open_page)[:2] - target[:2]) < 0.02)
    keep(chromium, open_page, "play")
    open_page.set_speed(1.0)
    press(tab, open_page, "Go", lambda: is_over(open_page.shown()))


def test_a_second_tab_sees_the_same_and_closing_them_stops_nothing(tab, open_page, chromium) -> None:
    open_page.until(lambda: open_page.shown() and open_page.shown().num_chunks >= 1)
    press(tab, open_page, "Pause", lambda: open_page.shown().phase == "paused")  # both tabs need the processor
    number, step = open_page.shown().number, open_page.shown().poses.step
    other = chromium.new_page(viewport={"width": 390, "height": 800})
    other.goto(open_page.address + COARSE, timeout=900_000)
    open_page.until(lambda: len(open_page.page._server.get_clients()) == 2)
    assert open_page.shown().phase == "paused" and open_page.shown().poses.step - step < 5
    for each in (other, tab):
        each.close()
    open_page.until(lambda: not open_page.page._server.get_clients())
    open_page.set_speed(1.0)
    open_page.page.lanes[0].engine.resume()  # nobody is there to press the button
    open_page.until(lambda: is_over(open_page.shown()))
    assert open_page.shown().number == number


def test_two_robots_are_shown_and_one_never_looks(tab, open_page, chromium) -> None:
    open_page.until(lambda: open_page.shown() and open_page.shown().num_chunks >= 1)
    tab.locator('input[value="one robot"]:visible').click()
    tab.get_by_role("option", name="beside one that never looks").click()
    open_page.until(lambda: len(open_page.page.lanes) == 2)
    open_page.until(lambda: (shown := open_page.shown(1)) and shown.num_chunks >= 2)
    assert open_page.shown(1).choices.controller == "open_loop"
    assert open_page.shown(0).choices.controller == "synchronous"
    press(tab, open_page, "Pause", lambda: all(open_page.shown(n).phase == "paused" for n in (0, 1)))
    keep(chromium, open_page, "play-two")
    open_page.set_speed(1.0)
    press(tab, open_page, "Go", lambda: all(open_page.shown(n).late_share is not None for n in (0, 1)))
    shares = [open_page.shown(n).late_share for n in (0, 1)]
    print("commands over 5 ms late:", ", ".join(f"{share:.1%}" for share in shares))


def test_choices_on_the_page_begin_another_episode(tab, open_page) -> None:
    open_page.until(lambda: open_page.shown() and open_page.shown().num_chunks >= 1)
    tab.locator('input[value="tiny-disturbed"]:visible').click()
    tab.get_by_role("option", name="tiny-reactive").click()
    open_page.until(lambda: open_page.shown().choices.policy == "tiny-reactive" and open_page.shown().num_chunks >= 1)
    assert open_page.shown().film is None, "a reactive policy imagines nothing"
    seed = open_page.shown().choices.seed
    press(tab, open_page, "Next seed", lambda: open_page.shown().choices.seed == seed + 1)


def test_a_dream_is_steered_in_the_second_tab(tab, open_page) -> None:
    panel = open_page.page.dream_panel
    tab.get_by_text("Steer the dream", exact=True).click()
    press(tab, open_page, "Let the policy decide", lambda: panel.dream is not None and len(panel.dream.actions) == 64)
    assert open_page.shown().phase != "running", "the simulated robot waits meanwhile"
    open_page.until(lambda: panel._arms.is_shown)


def test_it_listens_on_this_machine_alone(open_page) -> None:
    sockets = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f"{open_page.page.port:04X}"
    addresses = {line.split()[1].split(":")[0] for line in sockets if re.search(rf":{port} .* 0A ", line)}
    assert addresses == {"0100007F"}
