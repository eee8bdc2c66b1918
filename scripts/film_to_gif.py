"""A film as a GIF, for pages that play no films.

python scripts/film_to_gif.py outputs/demo/transfer_cube-1000000.mp4 docs/demo.gif
"""

import argparse
from pathlib import Path

import av
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("film", type=Path, help="an mp4")
parser.add_argument("gif", type=Path)
parser.add_argument("--every", type=int, default=2, help="frame of the film that is kept")
parser.add_argument("--width", type=int, default=480, help="pixels")
parser.add_argument("--colours", type=int, default=256)
given = parser.parse_args()

with av.open(given.film) as film:
    stream = film.streams.video[0]
    frame_ms = 1000 * given.every / float(stream.average_rate)
    size = given.width, round(given.width * stream.height / stream.width)
    pages = [frame.to_image().resize(size) for frame in list(film.decode(stream))[:: given.every]]
palette = pages[len(pages) // 2].quantize(given.colours)
first, *others = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
first.save(given.gif, save_all=True, append_images=others, duration=frame_ms, loop=0, optimize=True)
print(f"{given.gif}: {len(pages)} frames, {given.gif.stat().st_size / 1e6:.1f} MB")
