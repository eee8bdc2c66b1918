"""Who may come in: the same rules whatever carries the messages."""

import hmac
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from foreact.errors import ConfigurationError

WRONG_TOKEN_S = 0.2
"""Seconds before a wrong token is answered: guessing costs the one who guesses, and hardly the server."""


def knows_token(token: str | None, authorizations: Sequence[str]) -> bool:
    """Return whether a client may come in.

    Args:
        token: What clients must know; None: nothing.
        authorizations: Values of the request's `Authorization` headers: "Bearer TOKEN", or openpi's "Api-Key TOKEN".
    """
    if token is None:
        return True
    scheme, _, given = authorizations[0].partition(" ") if len(authorizations) == 1 else ("", "", "")
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    return right and scheme.lower() in ("bearer", "api-key")


def is_this_machine(host: str) -> bool:
    """Return whether an address or name is reached from, or reaches, this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"token file {path}", got=error, allowed="a readable text file") from error
