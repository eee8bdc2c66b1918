"""`foreact evidence`: gathers, or makes the document of what was gathered."""

import pytest

from foreact.commands.evidence import Settings, run
from foreact.errors import ConfigurationError


def test_gathers_and_writes_again_from_what_was_gathered(tmp_path) -> None:
    studies, docs = tmp_path / "studies", tmp_path / "docs"
    (studies / "store").mkdir(parents=True)
    run(Settings(studies=studies, docs=docs))
    text = (docs / "evidence.md").read_text()
    (docs / "evidence.md").unlink()
    run(Settings(docs=docs))
    assert (docs / "evidence.md").read_text() == text


@pytest.mark.parametrize("studies", ["missing", None])
def test_says_what_to_give_it(tmp_path, studies) -> None:
    with pytest.raises(ConfigurationError, match="foreact study"):
        run(Settings(studies=tmp_path / studies if studies else None, docs=tmp_path))
