"""Who may come in: the same rules whatever carries the messages."""

import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from foreact.errors import ConfigurationError

WRONG_TOKEN_S = 0.2
"""Seconds before a wrong token is answered: guessing costs the one who guesses, and hardly the server."""
_BETWEEN_GUESSES_S = 1.0
_MOST_WAIT_S = 4.0
_MOST_ADDRESSES = 1000
"""Remembered; of more, those are forgotten that guessed first."""


class Guesses:
    """Slows down whoever tries one token after another: one answer a second for each address."""

    def __init__(self, *, now: Callable[[], float] = monotonic):
        """Know nobody."""
        self._now = now
        self._free_s: OrderedDict[str, float] = OrderedDict()
        """When the next wrong token of an address is answered."""

    def wait_s(self, host: str) -> float | None:
        """Return the seconds after which a wrong token is to be answered; None: too many wait already."""
        now_s = self._now()
        answer_s = max(self._free_s.get(host, 0.0), now_s + WRONG_TOKEN_S)
        if answer_s - now_s > _MOST_WAIT_S:
            return None
        self._free_s[host] = answer_s + _BETWEEN_GUESSES_S
        self._free_s.move_to_end(host)
        while len(self._free_s) > _MOST_ADDRESSES:
            self._free_s.popitem(last=False)
        return answer_s - now_s


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
