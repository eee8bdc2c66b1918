"""Work that only counts, for tests of what stores, runs and repeats work: nothing heavy is imported."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from foreact.errors import ConfigurationError
from foreact.files import write_whole
from foreact.studies.store import Store
from foreact.studies.work import OnProgress, Work

COUNT_FILE = "count.txt"


@dataclass(frozen=True, kw_only=True)
class Counting:
    """Counts to its size, one whole file a unit; a line of `log` for each unit that was ever done."""

    kind: ClassVar[str] = "counting"
    name: str
    log: str
    size: int = 3
    pause_s: float = 0.0
    fails_at: int | None = None
    error: str = "settings"
    first: "tuple[Counting, ...]" = ()

    @property
    def expected_s(self) -> float:
        return 2.0 * self.size

    @property
    def title(self) -> str:
        return f"counting {self.name}"

    def fingerprint(self) -> dict[str, Any]:
        return {"name": self.name, "first": [each.fingerprint() for each in self.first]}

    def needs(self) -> Sequence[Work]:
        return self.first

    def perform(self, folder: Path, store: Store, device: str, on_progress: OnProgress) -> None:
        path = folder / COUNT_FILE
        count = int(path.read_text()) if path.exists() else 0
        on_progress(count, self.size, "")
        while count < self.size:
            if count == self.fails_at:
                raise ConfigurationError("toy", got=self.name) if self.error == "settings" else ZeroDivisionError("oh")
            time.sleep(self.pause_s)
            count += 1
            with Path(self.log).open("a") as file:
                file.write(f"{self.name} {count}\n")
            write_whole(path, str(count).encode())
            on_progress(count, self.size, f"at {count}")
