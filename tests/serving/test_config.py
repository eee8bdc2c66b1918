from dataclasses import fields
from pathlib import Path

import pytest

from foreact.errors import ConfigurationError
from foreact.serving.config import Limits, ServerConfig


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
def test_limits_are_positive(name: str) -> None:
    kind = float if isinstance(getattr(Limits(), name), float) else int
    for wrong in (kind(0), kind(-1)):
        with pytest.raises(ConfigurationError, match=f"Limits.{name}"):
            Limits(**{name: wrong})


def test_the_size_of_a_message_follows_from_the_policys_pictures() -> None:
    assert Limits().fitted(16 * 64 * 64 * 3).message_bytes == 4 * 2**20
    assert Limits().fitted(2**20).message_bytes == 8 * 2**20 + 2**16
    assert Limits().fitted(2**30).message_bytes == 64 * 2**20
    assert Limits().fitted(2**20).held_bytes == 8 * (8 * 2**20 + 2**16)
    assert Limits(message_bytes=1000).fitted(2**30).message_bytes == 1000
    assert Limits(held_bytes=1000).fitted(2**30).held_bytes == 1000


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "robot.lab", ""])
def test_nobody_listens_publicly_without_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match="could drive your robots"):
        ServerConfig(host=host)
    assert not ServerConfig(host=host, token="a secret that is long enough").is_private


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_alone_needs_none(host: str) -> None:
    assert ServerConfig(host=host).is_private


@pytest.mark.parametrize("token", ["", "short", "with a line\nbreak in it", "ünïcödé ünïcödé ünïcödé"])
def test_weak_tokens(token: str) -> None:
    with pytest.raises(ConfigurationError, match="16 or more printable"):
        ServerConfig(token=token)


def test_tokens_are_not_shown() -> None:
    assert "a secret" not in repr(ServerConfig(token="a secret that is long enough"))


def test_what_does_not_go_together() -> None:
    with pytest.raises(ConfigurationError, match="both, or neither"):
        ServerConfig(certificate=Path("cert.pem"))
    with pytest.raises(ConfigurationError, match="0 to 65535"):
        ServerConfig(port=70_000)
