"""`foreact evidence`."""

from dataclasses import dataclass
from pathlib import Path

from foreact.commands.progress import bold, console, plain
from foreact.errors import ConfigurationError
from foreact.studies.evidence import DOCUMENT, FOLDER, gather, write_document
from foreact.studies.ledger import read_ledger
from foreact.studies.store import Store


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Write one document of all studies.

    It says which claims hold, which fail, and what was not run.

    Example: foreact evidence --studies outputs/studies
    """

    studies: Path | None = None
    """What `foreact study` wrote; its reports are gathered first. Without it, those gathered before are used."""
    docs: Path = Path("docs")
    """Gets evidence.md, and in evidence/ a JSON and a picture of each study and the ledger of what was done."""


def run(settings: Settings) -> None:
    """Gather the reports, if there are new ones, and write the document."""
    studies, docs = settings.studies, settings.docs
    if studies is not None:
        store = Store(studies.resolve() / "store", read_ledger(docs / FOLDER))
        if not store.root.is_dir():
            raise ConfigurationError(
                "--studies", got=str(studies), allowed="what `foreact study` wrote", cure="run one"
            )
        gather(store, docs)
    elif not (docs / FOLDER).is_dir():
        raise ConfigurationError(
            "--docs",
            got=f"{docs}, which has no {FOLDER}/",
            cure="give --studies, the folder that `foreact study` wrote",
        )
    write_document(docs)
    console.print(f"{bold(docs / DOCUMENT)}, from the reports in {plain(docs / FOLDER)}")
