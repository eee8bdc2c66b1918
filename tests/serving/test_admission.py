"""Who may come in."""

from pathlib import Path

import pytest

from foreact.errors import ConfigurationError
from foreact.serving.admission import is_this_machine, knows_token, read_token

TOKEN = "a secret that is long enough"


@pytest.mark.parametrize(
    ("authorizations", "comes_in"),
    [
        ([f"Bearer {TOKEN}"], True),
        ([f"bearer  {TOKEN} "], True),
        ([f"Api-Key {TOKEN}"], True),
        ([f"Basic {TOKEN}"], False),
        ([TOKEN], False),
        (["Bearer another"], False),
        (["Bearer ünïcode"], False),
        ([], False),
        ([f"Bearer {TOKEN}", f"Bearer {TOKEN}"], False),
    ],
)
def test_the_token_is_asked_for(authorizations: list[str], comes_in: bool) -> None:
    assert knows_token(TOKEN, authorizations) is comes_in
    assert knows_token(None, authorizations)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "gpu.lab", "", "localhost.evil.example"])
def test_another_machine(host: str) -> None:
    assert not is_this_machine(host)


def test_a_token_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token.txt").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token.txt") == TOKEN
    with pytest.raises(ConfigurationError, match="a readable text file"):
        read_token(tmp_path / "none.txt")
