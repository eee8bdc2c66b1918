"""What is wrong or odd about a dataset, as one kind of record: loaders raise it, the doctor lists it."""

from dataclasses import dataclass
from typing import Literal

from foreact.errors import DatasetError

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found."""

    severity: Severity
    """`error`: a loader refuses it. `warning`: it trains, and probably badly. `note`: good to know."""
    what: str
    """The thing, as the user knows it."""
    where: str = ""
    """Episode, file, row or column."""
    got: str | None = None
    """What was found."""
    expected: str | None = None
    """What would have been right."""
    hint: str | None = None
    """What to do about it: a command where there is one."""

    def error(self) -> DatasetError:
        """Return the finding as an error to raise."""
        what = f"{self.where}: {self.what}" if self.where else self.what
        return DatasetError(what, got=self.got, allowed=self.expected, cure=self.hint)
