"""A page of `foreact play` with the shipped policies, and a headless Chromium that looks at it."""

import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from threading import Event, Thread
from typing import Any

import pytest

import foreact
from foreact.viewing.choices import PlayChoices

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE_DRAWING = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


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

    def until(self, reached: Callable[[], Any], patience_s: float = 120.0) -> None:
        deadline_s = time.monotonic() + patience_s
        while not reached():
            assert time.monotonic() < deadline_s, [lane.shown and lane.shown.phase for lane in self.page.lanes]
            time.sleep(0.05)


@pytest.fixture
def open_page(tmp_path) -> Iterator[OpenPage]:
    pytest.importorskip("viser", reason="the page needs viser: pip install 'foreact[play]'")
    from foreact.viewing.page import PlayPage

    load = cache(foreact.load)
    names = ("tiny-disturbed", "tiny", "tiny-reactive")
    page = PlayPage(load, PlayChoices(), policies=names, port=0, films=tmp_path, urgent=False)
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
