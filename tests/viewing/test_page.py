"""The page itself, where its library is installed; no browser is needed to serve it."""

import sys
import urllib.request

import pytest

import foreact
from foreact.errors import ConfigurationError
from foreact.viewing.page import Page
from foreact.viewing.player import Episode, Player

pytestmark = pytest.mark.sim


@pytest.fixture
def player(one_thread):
    player = Player(foreact.load("tiny-disturbed"), Episode(seed=5_000_003), speed=0.0)
    yield player
    player.close()


def test_without_viser_one_is_told_what_to_install(player, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ConfigurationError, match=r"viser is not installed.*foreact\[play\]"):
        Page(player, tasks=("lift_cube",))


def test_the_page_is_served_and_its_controls_reach_the_player(player) -> None:
    pytest.importorskip("viser", reason="the extra `play` is not installed")
    page = Page(player, tasks=("reach_cube", "lift_cube"), port=18_765)
    try:
        with urllib.request.urlopen(page.address, timeout=20) as answer:
            assert answer.status == 200 and b"<html" in answer.read(4096).lower()
        assert "127.0.0.1" in page.address
        page.handle.position = (0.02, 0.06, 0.02)
        page._drag()
        player.settle()
        assert player.world.cube_position("white")[0] == pytest.approx(0.02)
        player.play_chunk()
        player.wait_until_paused()
        page.draw(player.shown)
        assert "paused" in page.status.content and page.run_button.label == "Run"
        page.task.value = "reach_cube"
        page._begin()
        player.settle()
        page.draw(player.shown)
        assert player.shown.episode.task == "reach_cube"
    finally:
        page.close()
