"""Studies as plain data: a question, and the cells that answer it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from foreact.errors import ConfigurationError, UnknownNameError
from foreact.evaluation.suite import EvaluationConfig
from foreact.policy.inference import CHOICES
from foreact.studies.claims import Claim, Labels, matches
from foreact.studies.measures import Evaluation, HeldOut, HeldOutErrors
from foreact.studies.policies import PolicySource


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One entry of a study's grid: a policy, run so, measured so."""

    labels: Labels
    """What sets it apart, for example task and policy."""
    policy: PolicySource
    """Which policy."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the policy's own inference settings."""
    measure: EvaluationConfig | HeldOut
    """What is measured."""

    def __post_init__(self) -> None:
        for name in self.changes:
            if name not in CHOICES:
                raise UnknownNameError("inference setting", name, CHOICES)

    @property
    def work(self) -> Evaluation | HeldOutErrors:
        """What has to be done to know it."""
        if isinstance(self.measure, HeldOut):
            return HeldOutErrors(policy=self.policy, changes=self.changes, config=self.measure)
        return Evaluation(policy=self.policy, changes=self.changes, config=self.measure)

    @property
    def name(self) -> str:
        """Its labels in words."""
        return ", ".join(f"{name}={value}" for name, value in self.labels.items())


@dataclass(frozen=True, kw_only=True)
class Study:
    """One question. What counts as yes or no is said by the claims, before anything is run."""

    name: str
    """How users name it."""
    question: str
    """In plain words."""
    cells: tuple[Cell, ...]
    """In the order of what they decide: they are run in this order, as far as the time goes."""
    reference: Labels
    """Labels of what every cell is compared with: the cell that has these, and else the same labels."""
    claims: tuple[Claim, ...] = ()
    """What is to be judged."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise ConfigurationError(f"study {self.name}", got="no cells", allowed="one or more")
        names, seen = list(self.cells[0].labels), set()
        for cell in self.cells:
            if list(cell.labels) != names:
                raise ConfigurationError(f"labels of a cell of {self.name}", got=cell.name, allowed=", ".join(names))
            if cell.name in seen:
                raise ConfigurationError(f"cells of {self.name}", got=f"{cell.name} twice", allowed="each once")
            seen.add(cell.name)
        for chosen in (self.reference, *(labels for claim in self.claims for labels in claim.chosen)):
            self.choose(chosen)
        for claim in self.claims:
            for first, second in _sides(claim):
                if second is not None and not self.pairs(first, second):
                    raise ConfigurationError(
                        f"claim {claim.name!r}", got="no two cells that differ in these labels alone"
                    )

    def choose(self, labels: Labels) -> list[Cell]:
        """Return the cells that have these labels.

        Raises:
            UnknownNameError: No cell has a label of that name, or of that value.
        """
        known = {name: {str(cell.labels[name]) for cell in self.cells} for name in self.cells[0].labels}
        for name, value in labels.items():
            if name not in known:
                raise UnknownNameError(f"label of the study {self.name}", name, known)
            if str(value) not in known[name]:
                raise UnknownNameError(f"{name} of the study {self.name}", str(value), known[name])
        return [cell for cell in self.cells if matches(cell.labels, labels)]

    def pairs(self, first: Labels, second: Labels) -> list[tuple[Cell, Cell]]:
        """Return the pairs of cells that have these labels and are alike in all that neither of them names."""
        found = []
        for one in self.choose(first):
            shared = {name: value for name, value in one.labels.items() if name not in first and name not in second}
            wanted = {**{name: value for name, value in one.labels.items() if name in first}, **shared, **second}
            found.extend((one, other) for other in self.cells if matches(other.labels, wanted))
        return found

    def reference_of(self, cell: Cell) -> Cell | None:
        """Return what a cell is compared with; None if it is the reference itself, or there is none like it."""
        wanted = {**cell.labels, **self.reference}
        return next((other for other in self.cells if matches(other.labels, wanted) and other is not cell), None)

    def only(self, wanted: Sequence[str]) -> list[Cell]:
        """Return the cells that "name=value" texts ask for: of texts of one name any, of all names all; all of none.

        Raises:
            ConfigurationError: No such text, or no cell has all that is asked for.
            UnknownNameError: No cell has a label of that name, or of that value.
        """
        allowed: dict[str, list[Cell]] = {}
        for text in wanted:
            name, equals, value = text.partition("=")
            if not equals:
                raise ConfigurationError("--only", got=text, allowed="LABEL=VALUE, for example task=lift_cube")
            allowed.setdefault(name, []).extend(self.choose({name: value}))
        names = [{cell.name for cell in cells} for cells in allowed.values()]
        chosen = [cell for cell in self.cells if all(cell.name in each for each in names)]
        if not chosen:
            cure = f"foreact study {self.name} --list shows all cells"
            raise ConfigurationError("--only", got=" ".join(wanted), allowed="what some cell has together", cure=cure)
        return chosen


def _sides(claim: Claim) -> list[tuple[Labels, Labels | None]]:
    return [(claim.first, claim.second), *([claim.beside] if claim.beside else [])]
