import numpy as np

from foreact.viewing.drawing import (
    MOVING,
    STANDING,
    WIDTH,
    HeatTile,
    attention_picture,
    film_picture,
    pair_picture,
    time_line,
)

RED, BLUE = (np.full((64, 64, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))


def test_the_camera_is_left_and_imagination_right() -> None:
    page = pair_picture(RED, BLUE)
    assert page.shape[1] == WIDTH
    middle = page.shape[0] // 2 + 12
    assert page[middle, WIDTH // 4, 0] > 150 and page[middle, 3 * WIDTH // 4, 2] > 150
    alone = pair_picture(RED, None)
    assert page.shape == alone.shape and alone[middle, 3 * WIDTH // 4 + 60].max() < 100


def test_the_frame_of_the_present_moment_has_a_border() -> None:
    film = np.stack([RED] * 16)
    bare, marked = film_picture(film, -1), film_picture(film, 9)
    changed = np.argwhere((bare != marked).any(axis=2))
    side = WIDTH // 8
    assert changed.min(axis=0).tolist() == [side, side] and changed.max(axis=0).tolist() == [2 * side - 1] * 2
    assert film_picture(None, 0).shape[1] == WIDTH


def test_the_time_line_shows_when_the_robot_stood_still() -> None:
    page = time_line([(1.0, 2.0)], [(2.0, 4.0)], time_s=8.0)
    row = page[4 + 30 + 5]  # the robot's bar
    at = {second: tuple(row[int(92 + (WIDTH - 92) * second / 8)]) for second in (1.0, 3.0, 6.0)}
    assert at == {1.0: MOVING, 3.0: STANDING, 6.0: MOVING}


def test_attention_is_orange_where_the_policy_looked() -> None:
    heat = np.zeros((4, 4))
    heat[1, 2] = 0.3
    grey = np.full((64, 64, 3), 90, np.uint8)
    tiles = [HeatTile(grey, heat, "now"), HeatTile(grey, heat / 10, "in 0.3 s", is_imagined=True)]
    page = attention_picture(tiles, 0.67).astype(int)
    redness = page[18:118, :, 0] - page[18:118, :, 2]
    row, column = np.unravel_index(redness[:, :100].argmax(), (100, 100))
    assert 25 <= row < 50 and 50 <= column < 75  # the patch of row 1, column 2
    assert redness[:, 100:200].max() < redness[:, :100].max() / 3  # one scale for all
    assert np.abs(redness[60:100, :20]).max() < 3
