"""Makes the films of docs/gallery.md: eight episodes a task, whatever becomes of them. Writes docs/gallery/.

A person's view of the robot, and in it, small, what the policy's camera sees and what was imagined of the same moment.

Example: python scripts/make_gallery.py          (some minutes of one core)
         python scripts/make_gallery.py --only lift_cube
"""

import argparse
import json
from itertools import zip_longest
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image

import foreact
from foreact.data.video import VideoSettings, encode_video
from foreact.evaluation.canvas import BACKGROUND, BAR, DIM, resize, write_line
from foreact.evaluation.episodes import evaluate_episode
from foreact.evaluation.imagination import real_and_imagined
from foreact.evaluation.suite import FIRST_HELD_OUT_SEED
from foreact.files import write_whole
from foreact.policy.policy import Policy
from foreact.simulation.environment import BimanualEnv

OUT = Path(__file__).parents[1] / "docs" / "gallery"
ROWS = {
    "reach_cube": ("tiny", "reach_cube", "none"),
    "lift_cube": ("tiny", "lift_cube", "none"),
    "transfer_cube": ("tiny", "transfer_cube", "none"),
    "lift_cube_disturbed": ("tiny-disturbed", "lift_cube", "strong"),
}
"""Name of a film: policy, task, what goes wrong by itself."""
NUM_EPISODES, IN_A_ROW = 8, 4
SIDE, INSET = 256, 76
"""Pixels: of an episode's picture, and of the policy's own views in it."""
GREEN, RED = (110, 200, 130), (235, 110, 90)
SETTINGS = VideoSettings(crf=30, pixel_format="yuv420p", keyframe_interval=50)


class FilmedEnv(BimanualEnv):
    """The world, and a camera at an angle that films it whenever the policy's cameras take their pictures."""

    def __init__(self, task: str, disturbance: str):
        super().__init__(task, cameras=("top",), disturbance=disturbance)
        self.views: list[np.ndarray] = []
        self._renderer = mujoco.Renderer(self.world.model, SIDE, SIDE)
        self._camera = mujoco.MjvCamera()
        self._camera.lookat[:] = (0.0, 0.42, 0.0)
        self._camera.distance, self._camera.azimuth, self._camera.elevation = 1.4, 90.0, -42.0

    def images(self) -> dict[str, np.ndarray]:
        """Take the cameras' pictures, and one from the angle."""
        self._renderer.update_scene(self.world.data, self._camera)
        self.views.append(self._renderer.render().copy())
        return super().images()

    def close(self) -> None:
        """Free what draws."""
        self._renderer.close()
        super().close()


def film_episode(policy: Policy, task: str, disturbance: str, seed: int) -> tuple[list[np.ndarray], bool]:
    """Return an episode's pages, uint8 [height, width, 3], and whether it succeeded."""
    env = FilmedEnv(task, disturbance)
    result, record = evaluate_episode(policy, env, seed)
    views, pages = env.views, []
    for _, real, imagined in real_and_imagined(policy, record):
        for k, seen in enumerate(real["top"]):
            guess = None if imagined is None else imagined["top"][k]
            pages.append(_page(views[len(pages)], seen, guess))
    env.close()
    ending, colour = ("succeeded", GREEN) if result.success else ("failed", RED)
    last = Image.fromarray(pages[-1])
    write_line(last, (SIDE // 2, SIDE - 21), ending, colour, anchor="ma")
    return [*pages, *[np.asarray(last)] * 12], bool(result.success)


def _page(view: np.ndarray, seen: np.ndarray, imagined: np.ndarray | None) -> np.ndarray:
    page = Image.fromarray(view)
    for left, picture, word in ((4, seen, "seen"), (SIDE - INSET - 4, imagined, "imagined")):
        if picture is not None:
            page.paste(Image.fromarray(resize(picture, (INSET, INSET))), (left, SIDE - INSET - 4))
            write_line(page, (left + 3, SIDE - 21), word)
    return np.asarray(page)


def make(name: str) -> None:
    """Film eight episodes, and write the film and what became of them."""
    policy_name, task, disturbance = ROWS[name]
    policy = foreact.load(policy_name)
    seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + NUM_EPISODES)
    episodes = [film_episode(policy, task, disturbance, seed) for seed in seeds]
    ends = [pages[-1] for pages, _ in episodes]
    films = zip_longest(*(pages for pages, _ in episodes))
    pages = [_grid([end if tile is None else tile for tile, end in zip(tiles, ends, strict=True)]) for tiles in films]
    hz = round(policy.embodiment.timing.camera_hz)
    film = encode_video(pages, fps=hz, size=pages[0].shape[:2], settings=SETTINGS)
    write_whole(OUT / f"{name}.mp4", film)
    write_whole(OUT / f"{name}.jpg", lambda target: Image.fromarray(pages[-1]).save(target, format="JPEG", quality=78))
    about = {
        "policy": policy_name,
        "weights": policy.digest(),
        "task": task,
        "disturbance": disturbance,
        "succeeded": {str(seed): success for seed, (_, success) in zip(seeds, episodes, strict=True)},
    }
    write_whole(OUT / f"{name}.json", (json.dumps(about, indent=1) + "\n").encode())
    print(name, f"{sum(success for _, success in episodes)} of {NUM_EPISODES}, {len(film) / 1e3:.0f} kB")


def _grid(tiles: list[np.ndarray]) -> np.ndarray:
    rows = [np.concatenate(tiles[start : start + IN_A_ROW], axis=1) for start in range(0, len(tiles), IN_A_ROW)]
    bar = Image.new("RGB", (rows[0].shape[1], BAR), BACKGROUND)
    words = "each episode: a person's view; small, what the policy's camera sees and what was imagined of that moment"
    write_line(bar, (8, 7), words, DIM)
    return np.concatenate([*rows, np.asarray(bar)])


def main() -> None:
    """Make all films, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ROWS)
    chosen = parser.parse_args().only
    OUT.mkdir(exist_ok=True)
    for name in ROWS if chosen is None else [chosen]:
        make(name)


if __name__ == "__main__":
    main()
