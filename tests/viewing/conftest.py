"""A page of `foreact play` with the shipped policies, and a headless Chromium that looks at it."""

import io
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from threading import Event, Thread
from typing import Any

import av
import numpy as np
import pytest

import foreact
from foreact.viewing.choices import PlayChoices

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE_DRAWING = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SLOW = 0.1
"""Pace of the world while the browser has to follow it: Chromium draws with the processor that also runs the policy."""
PATIENCE_S = 900.0


class OpenPage:
    """The served page, and what it shows now."""

    def __init__(self, page: Any):
        self.page = page

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.page.port}"

    def shown(self, number: int = 0) -> Any:
        """What the page last drew of a robot."""
        return self.page.lanes[number].shown

    def set_speed(self, speed: float) -> None:
        self.page._speed_slider.value = speed

    def until(self, reached: Callable[[], Any]) -> None:
        """Wait for something that this machine does in its own time; a failed episode ends the wait at once."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not reached():
            shown = [lane.shown for lane in self.page.lanes]
            state = [(each.phase, each.problem, each.number, each.num_chunks) for each in shown if each]
            assert all(phase != "failed" for phase, *_ in state), state
            assert time.monotonic() < deadline_s, state
            time.sleep(0.05)


@pytest.fixture
def film_bytes() -> Callable[[np.ndarray, int], bytes]:
    """Makes an mp4 of frames uint8 [time, height, width, 3] at a rate."""

    def make(frames: np.ndarray, hz: int) -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as film:
            stream = film.add_stream("mpeg4", rate=hz)
            stream.height, stream.width = frames.shape[1:3]
            for frame in frames:
                film.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            film.mux(stream.encode())
        return file.getvalue()

    return make


@pytest.fixture
def open_page(tmp_path) -> Iterator[OpenPage]:
    pytest.importorskip("viser", reason="the page needs viser: pip install 'foreact[play]'")
    from foreact.viewing.page import PlayPage

    load = cache(foreact.load)
    names = ("tiny-disturbed", "tiny", "tiny-reactive")
    page = PlayPage(load, PlayChoices(), policies=names, port=0, films=tmp_path, urgent=False)
    page._speed_slider.value = SLOW
    over = Event()
    thread = Thread(target=page.run, args=(over.is_set,))
    thread.start()
    try:
        yield OpenPage(page)
    finally:
        over.set()
        thread.join()
        page.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install -y chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE_DRAWING)
        yield browser
        browser.close()
