"""`foreact evidence`."""

from pathlib import Path

from foreact.commands.progress import console
from foreact.errors import ConfigurationError
from foreact.studies.evidence import DOCUMENT, FOLDER, gather, write_document
from foreact.studies.ledger import read_ledger
from foreact.studies.store import Store


def evidence(studies: Path | None, docs: Path) -> None:
    """See `foreact.cli.evidence`."""
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
    console.print(f"[bold]{docs / DOCUMENT}[/], from the reports in {docs / FOLDER}")
