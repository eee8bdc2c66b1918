"""The demonstrations as the other policies see them: one camera, the same pictures as ours, as a LeRobot dataset.

The copy is written by LeRobot itself. Its pictures are stored singly and without loss, so that a training step on a
processor does not spend its time on decoding videos.
"""

import shutil
from pathlib import Path

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rich.progress import track

from foreact.data.episodes import EpisodeDataset
from foreact.embodiments import CameraLayout

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."


def copy_demonstrations(source: Path, target: Path, layout: CameraLayout) -> EpisodeDataset:
    """Write what `layout` sees of a dataset, unless it is there; return the source.

    States and actions are the demonstrations' own: what the expert meant, not what disturbances made of it.

    Args:
        source: A dataset that `foreact collect` recorded.
        target: Gets the copy, whole or not at all.
        layout: Which camera, and how large.
    """
    dataset = EpisodeDataset(source)
    if not target.exists():
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _write(dataset, partial, layout)
        partial.replace(target)
    return dataset


def _write(dataset: EpisodeDataset, root: Path, layout: CameraLayout) -> None:
    numbers = {name: dataset.features[name] for name in (STATE, ACTION)}
    names = ["height", "width", "channels"]
    cameras = {
        IMAGES + camera: {"dtype": "image", "shape": (*size, 3), "names": names}
        for camera, size in zip(layout.cameras, layout.picture_sizes, strict=True)
    }
    features = {name: {**feature, "shape": tuple(feature["shape"])} for name, feature in (numbers | cameras).items()}
    copy = LeRobotDataset.create("local/copy", round(dataset.fps), features, root=root, use_videos=False)
    for episode in track(dataset, f"copying {dataset.root}", total=dataset.num_episodes):
        clips = {camera: episode.frames(IMAGES + camera, range(episode.length)) for camera in layout.cameras}
        shown = dict(layout.pictures(clips))
        columns = {name: episode.column(name) for name in numbers}
        for row in range(episode.length):
            frame = {name: column[row] for name, column in columns.items()}
            frame |= {IMAGES + camera: clip[row] for camera, clip in shown.items()}
            copy.add_frame(frame | {"task": episode.instruction})
        copy.save_episode()
    copy.finalize()
