"""Who may come in."""

from pathlib import Path

import pytest

from foreact.errors import ConfigurationError
from foreact.serving.admission import Guesses, is_this_machine, knows_token, read_token

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


def test_wrong_tokens_of_one_address_are_answered_ever_later_and_then_not_at_all() -> None:
    now_s = [100.0]
    guesses = Guesses(now=lambda: now_s[0])
    waits = [guesses.wait_s("10.0.0.1") for _ in range(10)]
    assert waits[:4] == pytest.approx([0.2, 1.2, 2.2, 3.2]) and waits[4:] == [None] * 6
    assert guesses.wait_s("10.0.0.2") == pytest.approx(0.2)
    now_s[0] += 10.0
    assert guesses.wait_s("10.0.0.1") == pytest.approx(0.2)


def test_no_more_addresses_are_remembered_than_may_be() -> None:
    guesses = Guesses(now=lambda: 100.0)
    for number in range(3000):
        guesses.wait_s(f"10.0.{number // 256}.{number % 256}")
    assert len(guesses._free_s) == 1000
