"""A dataset looked at before anybody trains on it: what is there, and what is wrong or odd."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from foreact.data.action_checks import check_action_and_state, check_channels, check_mapping
from foreact.data.camera_checks import CameraStrip, check_camera, take_strip
from foreact.data.episodes import Episode, EpisodeDataset
from foreact.data.findings import Finding
from foreact.data.renaming import ACTION, STATE
from foreact.data.row_checks import check_gaps
from foreact.data.sequences import find_glitch
from foreact.embodiments import Embodiment
from foreact.embodiments.proposal import entry_names
from foreact.errors import DatasetError

MOST_EPISODES = 200
"""Episodes whose rows are looked at; the rest counts by `meta/` alone."""
MOST_FILMED = 8
"""Episodes whose pictures are looked at, evenly spread."""
ALIKE = 0.93
"""Two instructions that are this alike may be one."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """Everything the doctor has to say."""

    facts: dict[str, str]
    """What is there, name to value in words."""
    findings: tuple[Finding, ...]
    """What is wrong or odd, errors first."""
    strips: dict[str, CameraStrip] = field(repr=False)
    """Some pictures of each camera."""
    actions: np.ndarray = field(repr=False)
    """[rows, entries] of the episodes that were looked at."""

    @property
    def num_errors(self) -> int:
        """Findings that a loader refuses."""
        return sum(finding.severity == "error" for finding in self.findings)


def examine(dataset: EpisodeDataset, robot: Embodiment | None = None) -> Examination:
    """Look at a dataset; a loader would raise the first of the errors.

    Args:
        dataset: To be looked at.
        robot: Whose actions they are; None: what only the robot's file says is not checked.

    Raises:
        DatasetError: It has no actions.
    """
    dataset.require(columns=[ACTION])
    readable, findings = _readable(dataset)
    parts = [episode.column(ACTION).astype(np.float64) for episode in readable]
    names = entry_names(dataset.features[ACTION], ACTION)
    findings += [
        finding for episode in readable for finding in check_gaps(f"episode {episode.number}", episode.times_s)
    ]
    findings += _check_tasks(readable)
    findings += _check_lengths(dataset, robot)
    if parts:
        findings += _check_glitch(readable, parts, names)
        findings += check_channels(np.concatenate(parts), names)
    if parts and STATE in dataset.column_names:
        states = [episode.column(STATE).astype(np.float64) for episode in readable]
        findings += check_action_and_state(parts, states, names, dataset.fps)
        if robot is not None:
            findings += check_mapping(robot, parts[0], states[0])
    strips: dict[str, CameraStrip] = {}
    for key in dataset.camera_keys:
        found = take_strip(dataset, _spread(readable, MOST_FILMED), key)
        findings += found.findings
        if len(found.pictures):
            strips[key] = found
            findings += check_camera(key, found)
    order = {"error": 0, "warning": 1, "note": 2}
    return Examination(
        facts=_facts(dataset, readable, robot),
        findings=tuple(sorted(findings, key=lambda finding: order[finding.severity])),
        strips=strips,
        actions=np.concatenate(parts) if parts else np.empty((0, len(names))),
    )


def _spread(episodes: list[Episode], most: int) -> list[Episode]:
    places = np.unique(np.linspace(0, len(episodes) - 1, min(most, len(episodes))).round().astype(int))
    return [episodes[place] for place in places]


def _readable(dataset: EpisodeDataset) -> tuple[list[Episode], list[Finding]]:
    """Return the episodes whose rows read, and an error for each that does not."""
    chosen = np.unique(np.linspace(0, dataset.num_episodes - 1, min(MOST_EPISODES, dataset.num_episodes)).astype(int))
    readable, findings = [], list[Finding]()
    for index in chosen if dataset.num_episodes else []:
        episode = dataset.episode(int(index))
        try:
            for name in (ACTION, STATE):
                if name in dataset.column_names:
                    episode.column(name)
            _ = episode.times_s, episode.instruction
        except DatasetError as error:
            findings.append(Finding(severity="error", what=str(error)))
            continue
        readable.append(episode)
    return readable, findings


def _check_tasks(episodes: list[Episode]) -> Iterator[Finding]:
    counts = Counter(episode.instruction for episode in episodes)
    texts = sorted(counts)
    for place, one in enumerate(texts):
        if not one.strip():
            yield Finding(severity="warning", what="instruction", got="an empty one", hint="say what the robot does")
        for other in texts[place + 1 :]:
            if SequenceMatcher(None, one.casefold(), other.casefold()).ratio() >= ALIKE:
                yield Finding(
                    severity="warning",
                    what="two instructions that are almost the same",
                    got=f"{one!r} in {counts[one]} episodes, {other!r} in {counts[other]}",
                    hint="if they mean the same, write them alike: to the policy they are two tasks",
                )


def _check_lengths(dataset: EpisodeDataset, robot: Embodiment | None) -> Iterator[Finding]:
    if robot is None:
        least, what = 2, "rows"
    else:
        least, what = 1 + robot.timing.actions_per_chunk, "rows, one chunk"
    short = np.flatnonzero(dataset.lengths < least)
    if len(short):
        yield Finding(
            severity="warning",
            what=f"{len(short)} of {dataset.num_episodes} episodes are shorter than {least} {what}",
            where=f"episode {dataset.episode(int(short[0])).number}",
            got=f"{dataset.lengths[short[0]]} rows",
            hint="they teach little, and those of one row nothing; take them out, or give a smaller chunk",
        )


def _check_glitch(episodes: list[Episode], parts: list[np.ndarray], names: tuple[str, ...]) -> Iterator[Finding]:
    if glitch := find_glitch(parts):
        place, row, entry, value, usual = glitch
        yield Finding(
            severity="error",
            what=f"action {names[entry]!r}, row {row}",
            where=f"episode {episodes[place].number}",
            got=f"{value:.6g}",
            expected=f"a number like the others, {usual}",
            hint="a number that was never set: repair it, or take the episode out",
        )


def _facts(dataset: EpisodeDataset, readable: list[Episode], robot: Embodiment | None) -> dict[str, str]:
    hours = dataset.num_frames / dataset.fps / 3600
    lengths_s = dataset.lengths / dataset.fps
    facts = {
        "dataset": f"{dataset.root}, LeRobot {dataset.version}",
        "robot": dataset.robot_type or "not named",
        "episodes": f"{dataset.num_episodes}, {hours:.2f} hours, {dataset.num_frames} rows at {dataset.fps:g} Hz",
    }
    if len(lengths_s):
        facts["length"] = (
            f"{lengths_s.min():.1f} to {lengths_s.max():.1f} s, half of them over {np.median(lengths_s):.1f} s"
        )
    facts["looked at"] = f"the rows of {len(readable)} episodes, pictures of {min(MOST_FILMED, len(readable))}"
    facts["cameras"] = ", ".join(_camera(dataset, key) for key in dataset.camera_keys) or "none"
    for name in (ACTION, STATE):
        if name in dataset.column_names:
            facts[name] = ", ".join(entry_names(dataset.features[name], name.split(".")[-1]))
    tasks = Counter(episode.instruction for episode in readable)
    facts["instructions"] = "; ".join(f"{text!r} ({count})" for text, count in tasks.most_common(6))
    if robot is not None:
        facts |= _what_follows(dataset, robot)
    return facts


def _camera(dataset: EpisodeDataset, key: str) -> str:
    height, width = dataset.frame_size(key)
    return f"{key} {height} x {width}"


def _what_follows(dataset: EpisodeDataset, robot: Embodiment) -> dict[str, str]:
    timing = robot.timing
    frames = np.array([timing.latent_frames_in_episode(int(n)) for n in dataset.lengths if n > 0])
    return {
        "embodiment": f"{robot.name}: cameras {', '.join(robot.cameras)} at {timing.camera_hz:g} Hz",
        "chunk": f"{timing.actions_per_chunk} actions, {timing.chunk_s:.2f} s, "
        f"{timing.latent_frames_per_chunk} latent frames",
        "latent frames": f"{int(frames.sum())} in all, {int(frames.max(initial=0))} in the longest episode",
    }


def to_plain(examination: Examination) -> dict[str, Any]:
    """Return facts and findings as plain data for JSON."""
    return {"facts": examination.facts, "findings": [vars(finding) for finding in examination.findings]}
