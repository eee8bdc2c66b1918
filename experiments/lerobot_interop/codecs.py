"""What does compressing frames cost, and what is lost? README.md has the result.

.venv/bin/python experiments/lerobot_interop/codecs.py FRAMES.npz    # camera name: uint8 [frames, H, W, 3]
"""

import io
import sys
import time
from dataclasses import replace

import av
import numpy as np

from foreact.data.video import VideoSettings, encode_video

DEFAULT = VideoSettings()
LEROBOT = VideoSettings(codec="libsvtav1", pixel_format="yuv420p", crf=30, preset="12", keyframe_interval=2)
CANDIDATES = {
    "LeRobot's default": LEROBOT,
    "the same, crf 10": replace(LEROBOT, crf=10),
    "h264 4:2:0 crf 10": replace(DEFAULT, pixel_format="yuv420p", crf=10),
    "h264 4:4:4 crf 12": replace(DEFAULT, crf=12),
    "h264 4:4:4 crf 8 (ours)": DEFAULT,
    "h264 4:4:4 crf 6": replace(DEFAULT, crf=6),
}


def psnr_db(error: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean(error.astype(float) ** 2)))


def main(source: str) -> None:
    """Print a Markdown table, one line per candidate and camera."""
    print("| settings | camera | PSNR dB | worst frame | bytes a frame | encode ms | decode ms |")
    print("|---|---|---|---|---|---|---|")
    cameras = np.load(source)
    for name, settings in CANDIDATES.items():
        for camera, frames in cameras.items():
            start = time.process_time()
            content = encode_video(frames, fps=50, size=frames.shape[1:3], settings=settings)
            middle = time.process_time()
            with av.open(io.BytesIO(content)) as container:
                decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
            end = time.process_time()
            error, count = decoded.astype(int) - frames, len(frames)
            worst = min(psnr_db(one) for one in error)
            print(
                f"| {name} | {camera} | {psnr_db(error):.1f} | {worst:.1f} | {len(content) // count} "
                f"| {1e3 * (middle - start) / count:.2f} | {1e3 * (end - middle) / count:.2f} |"
            )


if __name__ == "__main__":
    main(sys.argv[1])
