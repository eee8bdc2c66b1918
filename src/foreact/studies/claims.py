"""What a study is to decide, written down before it is run, and how the numbers judge it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt
from typing import Literal

import numpy as np

from foreact.errors import ConfigurationError
from foreact.evaluation.statistics import mean_interval, paired_difference_interval, wilson_interval

Label = str | int | float
Labels = Mapping[str, Label]
Figure = Literal["success", "progress", "imagination_error", "chunk_ms", "action_error", "imagination_psnr_db"]
Verdict = Literal["holds", "fails", "not decided by the interval", "not run yet"]
Values = Mapping[int, float]
"""Unit (a seed, or a recorded episode) to figure, of one cell."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The first cells' figure less the second's, unit by unit, is more than some number.

    It holds if the whole 95 % interval lies above that number, and fails if the whole of it lies below. Cells are
    paired by the labels that are not named here, and all pairs are taken together.
    """

    name: str
    """In plain words."""
    first: Labels
    """Labels of the cells that are said to have more."""
    second: Labels | None = None
    """Those they are compared with; None: the figure of the first itself."""
    figure: Figure = "success"
    """Of what."""
    more_than: float = 0.0
    """By how much: of shares 0.05 is 5 points. Below 0: not worse by so much."""
    beside: tuple[Labels, Labels] | None = None
    """Two more kinds of cells: the difference is said to be greater than theirs."""

    def __post_init__(self) -> None:
        if self.beside and self.second is None:
            raise ConfigurationError("claim with `beside`", got="nothing to subtract", allowed="`first` and `second`")

    @property
    def chosen(self) -> list[Labels]:
        """All labels by which it chooses cells."""
        return [labels for labels in (self.first, self.second, *(self.beside or ())) if labels is not None]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    middle: float
    low: float
    high: float
    num_units: int
    """Seeds, episodes or pairs of them that it rests on."""


def matches(labels: Labels, wanted: Labels) -> bool:
    """Return whether labels have all the wanted values; numbers and their texts are alike."""
    return all(str(labels[name]) == str(value) for name, value in wanted.items())


def judge(claim: Claim, estimate: Estimate | None) -> Verdict:
    """Return what an interval says of a claim; None: some cell has not been run."""
    if estimate is None:
        return "not run yet"
    if estimate.low > claim.more_than:
        return "holds"
    return "fails" if estimate.high < claim.more_than else "not decided by the interval"


def level(values: list[float], figure: str) -> Estimate | None:
    """Return the mean of a figure: Wilson's interval of success, else Student's over units; None of no values."""
    if not values:
        return None
    middle, count = float(np.mean(values)), len(values)
    if figure == "success":
        return Estimate(middle, *wilson_interval(round(sum(values)), count), count)
    if count < 2:
        return Estimate(middle, -inf, inf, count)
    return Estimate(middle, *mean_interval(np.asarray(values)), count)


def difference(pairs: list[tuple[float, float]], figure: str) -> Estimate | None:
    """Return the mean difference over pairs, first less second; None of no pairs.

    Its interval is Agresti and Min's for success, else Student's over pairs.
    """
    if not pairs:
        return None
    first, second = np.array(pairs).T
    if figure != "success":
        return level((first - second).tolist(), "difference")
    only_first, only_second = int((first > second).sum()), int((second > first).sum())
    interval = paired_difference_interval(only_first, only_second, len(pairs))
    return Estimate((only_first - only_second) / len(pairs), *interval, len(pairs))


def contrast(one: Estimate, other: Estimate) -> Estimate:
    """Return the difference of two independent estimates.

    Source: Zou and Donner (2008), Construction of confidence limits about effect measures: the square-and-add method.
    """
    middle = one.middle - other.middle
    low = middle - sqrt((one.middle - one.low) ** 2 + (other.high - other.middle) ** 2)
    high = middle + sqrt((one.high - one.middle) ** 2 + (other.middle - other.low) ** 2)
    return Estimate(middle, low, high, one.num_units + other.num_units)
