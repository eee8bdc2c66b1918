"""How good is imagination on recorded episodes that were held out of training, against the cameras' own pictures?

    python experiments/imagination/run.py --policy tiny --data data/lift_cube data/reach_cube data/transfer_cube

Every chunk is imagined from the real history; the recorded actions are taken for executed. Compared with the last real
frame, held still, over frames in which something moves.
"""

import argparse

import numpy as np

import foreact
from foreact.control.dialogue import Placed
from foreact.data.episodes import Episode, EpisodeDataset
from foreact.data.latents import CAMERA_PREFIX
from foreact.data.sequences import EXECUTED
from foreact.evaluation.episodes import EpisodeRecord
from foreact.evaluation.imagination import frame_errors, mean_psnr_db
from foreact.policy.policy import Policy
from foreact.types import ActionChunk


def replay(policy: Policy, episode: Episode) -> EpisodeRecord:
    """Return what the policy would have imagined at every chunk of a recorded episode."""
    timing, length = policy.embodiment.timing, policy.actions_per_chunk
    executed = episode.column(EXECUTED)

    def pictures(rows: list[int]) -> dict[str, np.ndarray]:
        return {camera: episode.frames(CAMERA_PREFIX + camera, rows) for camera in policy.embodiment.cameras}

    session, first = policy.start(episode.instruction, seed=episode.index), pictures([0])
    policy.observe_first(session, first, episode.column("observation.state")[0])
    record = EpisodeRecord(timing=timing, seen=[session.observed])
    clips = [first]
    for start in range(0, episode.length - length, length):
        record.chunks.append(_in_time(policy.predict(session), start))
        clips.append(pictures([start + (k + 1) * timing.camera_stride for k in range(length // timing.camera_stride)]))
        policy.observe(session, clips[-1], executed[start : start + length])
        record.seen.append(session.observed)
    record.executed = executed[: length * len(record.chunks)]
    record.pictures = [{c: clip[c][k] for c in clip} for clip in clips for k in range(len(next(iter(clip.values()))))]
    return record


def _in_time(chunk: ActionChunk, begin: int) -> Placed:
    """Return a chunk as if it had been there when it was wanted."""
    ticks, counts = dict(begin_tick=begin, arrival_tick=begin), dict(num_under_way=0, num_prefix=0, delay_ticks=0)
    return Placed(index=0, chunk=chunk, asked_s=0.0, answered_s=0.0, late=False, **ticks, **counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--held-out", type=int, default=5, help="last episodes of each dataset")
    given = parser.parse_args()
    policy = foreact.load(given.policy)
    for root in given.data:
        dataset = EpisodeDataset(root)
        held_out = range(dataset.num_episodes - given.held_out, dataset.num_episodes)
        errors = [frame_errors(policy, replay(policy, dataset.episode(index))) for index in held_out]
        imagined, held = mean_psnr_db(errors) or (float("nan"), float("nan"))
        counts = f"{len(errors)} episodes, {sum(len(e.imagined) for e in errors)} frames"
        print(f"{root}: imagined {imagined:.1f} dB, last frame held {held:.1f} dB ({counts})")


if __name__ == "__main__":
    main()
