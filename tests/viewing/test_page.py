"""The page in a real browser: Chromium without a screen clicks, drags and looks; nothing in it is imitated.

The world goes at a tenth of its pace where Chromium draws with the processor that also runs the policy.
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

VISERS_OWN = "Unable to preventDefault inside passive event listener"
"""What viser's own dragging of scene objects makes Chromium complain of; nothing is wrong with the page then."""


def keep(tab, name: str) -> None:
    if SCREENSHOTS:
        for notice in tab.locator(".mantine-Notification-closeButton").all():
            notice.click()  # viser remarks that there is no GPU
        time.sleep(1)
        tab.screenshot(path=Path(SCREENSHOTS) / f"{name}.jpg", type="jpeg", quality=80, timeout=300_000)


@pytest.fixture
def tab(chromium, open_page):
    view = chromium.new_page(viewport={"width": 1280, "height": 800})
    view.set_default_timeout(240_000)
    view.problems = []
    view.on("console", lambda message: view.problems.append(message.text) if message.type == "error" else None)
    view.on("pageerror", lambda error: view.problems.append(str(error)))
    view.goto(open_page.address)
    view.get_by_text("One chunk").wait_for()
    yield view
    assert [problem for problem in view.problems if VISERS_OWN not in problem] == []
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


def test_an_episode_runs_and_its_cube_is_dragged(tab, open_page) -> None:
    open_page.until(lambda: open_page.shown() and open_page.shown().num_chunks >= 1)
    tab.get_by_text("Pause", exact=True).click()
    open_page.until(lambda: open_page.shown().phase in ("paused", "succeeded", "time up"))
    tab.get_by_text("Again", exact=True).click()
    open_page.until(lambda: open_page.shown().number >= 2 and open_page.shown().poses is not None)
    tab.get_by_text("Pause", exact=True).click()
    open_page.until(lambda: open_page.shown().phase == "paused")
    before = cube_of(open_page).copy()
    target = before + np.array([0.05 if before[0] < 0.15 else -0.05, 0.05 if before[1] < 0.5 else -0.05, 0])
    start, end = (pixel_of(tab, open_page.page, place) for place in (before, target))
    tab.mouse.move(*start)
    tab.mouse.down()
    for part in np.linspace(0.1, 1, 10):
        tab.mouse.move(*(np.asarray(start) + part * np.subtract(end, start)))
        time.sleep(0.1)
    tab.mouse.up()
    open_page.until(lambda: np.linalg.norm(cube_of(open_page)[:2] - target[:2]) < 0.02)
    keep(tab, "play")
    tab.get_by_text("Go", exact=True).click()
    open_page.until(lambda: open_page.shown().phase in ("succeeded", "time up"))


def test_a_second_tab_sees_the_same_and_disturbs_nothing(tab, open_page, chromium) -> None:
    open_page.until(lambda: open_page.shown() and open_page.shown().num_chunks >= 1)
    number = open_page.shown().number
    other = chromium.new_page(viewport={"width": 390, "height": 800})
    other.goto(open_page.address, timeout=240_000)
    open_page.until(lambda: len(open_page.page._server.get_clients()) == 2)
    other.close()
    open_page.until(lambda: len(open_page.page._server.get_clients()) == 1)
    assert open_page.shown().number == number and open_page.shown().phase != "failed"


def test_two_robots_are_shown_and_one_never_looks(tab, open_page) -> None:
    open_page.until(lambda: open_page.shown() and open_page.shown().num_chunks >= 1)
    tab.locator('input[value="one robot"]:visible').click()
    tab.get_by_role("option", name="beside one that never looks").click()
    open_page.until(lambda: len(open_page.page.lanes) == 2)
    open_page.until(lambda: (shown := open_page.shown(1)) and shown.num_chunks >= 1)
    assert open_page.shown(1).choices.controller == "open_loop"
    assert open_page.shown(0).choices.controller == "synchronous"
    keep(tab, "play-two")
    open_page.until(lambda: all(open_page.shown(n).late_share is not None for n in (0, 1)))
    shares = [open_page.shown(n).late_share for n in (0, 1)]
    print("commands over 5 ms late:", ", ".join(f"{share:.1%}" for share in shares))


def test_it_listens_on_this_machine_alone(open_page) -> None:
    sockets = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f"{open_page.page.port:04X}"
    addresses = {line.split()[1].split(":")[0] for line in sockets if re.search(rf":{port} .* 0A ", line)}
    assert addresses == {"0100007F"}
