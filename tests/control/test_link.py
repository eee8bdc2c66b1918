"""Waiting, addresses and certificates; connections are tested with the client."""

from itertools import islice
from pathlib import Path
from random import Random

import pytest

from foreact.control.client import Client
from foreact.control.link import BROKEN, Link, Patience
from foreact.control.protocol import Stop
from foreact.errors import ConfigurationError


def test_a_link_that_was_never_opened_is_broken() -> None:
    link = Link("127.0.0.1:1", token=None, certificate=None, patience=Patience())
    assert not link.is_open
    with pytest.raises(BROKEN, match="not connected"):
        link.ask(Stop(session="s"))
    link.cut()
    link.close()


@pytest.mark.parametrize("name", ["connect_s", "answer_s", "give_up_s", "first_retry_s", "longest_retry_s"])
def test_patience_is_positive(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Patience(**{name: 0.0})


def test_pauses_double_up_to_the_longest() -> None:
    pauses = list(islice(Patience(first_retry_s=0.1, longest_retry_s=0.5).pauses_s(Random(0)), 6))
    for pause, most in zip(pauses, [0.1, 0.2, 0.4, 0.5, 0.5, 0.5], strict=True):
        assert most / 2 <= pause <= most


def test_addresses_and_certificates(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="address with a certificate"):
        Client("127.0.0.1:1", "push", certificate=tmp_path / "none.pem")
    with pytest.raises(ConfigurationError, match="readable PEM"):
        Client("wss://127.0.0.1:1", "push", certificate=tmp_path / "none.pem")
    with pytest.raises(ConfigurationError, match="host:port"):
        Client("http://127.0.0.1:1", "push")


@pytest.mark.parametrize(
    ("address", "is_direct"),
    [
        ("127.0.0.1:8000", True),
        ("ws://[::1]:8000", True),
        ("192.168.1.7:8000", True),
        ("robot:8000", True),
        ("localhost:8000", True),
        ("policy.example.com:8000", False),
        ("wss://policy.example.com", False),
        ("inside.example.org:8000", True),
    ],
)
def test_only_servers_far_away_are_reached_through_the_environments_proxy(monkeypatch, address, is_direct) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "example.org")
    link = Link(address, token=None, certificate=None, patience=Patience())
    assert (link.proxy is None) == is_direct
