"""Which instructions a policy was trained on: a network that has seen three sentences understands no fourth."""

from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten

MOST_KEPT = 100
"""More different instructions than these are not listed: the policy has learned to read, as far as it can."""
SHOWN_CHARACTERS = 120
"""Longer sentences are shortened in messages."""


class UnknownInstructionWarning(UserWarning):
    """A policy is asked for something that it was not trained on; it will do something all the same."""


def kept(instructions: Iterable[str]) -> tuple[str, ...]:
    """Return the different instructions in the order of their first appearance; none if there are too many to list."""
    different = tuple(dict.fromkeys(instructions))
    return different if len(different) <= MOST_KEPT else ()


def unknown_instruction(asked: str, known: tuple[str, ...]) -> str | None:
    """Return what is to be said of an instruction; None if it is known, or if it is not known what is.

    Args:
        asked: What the policy is to do.
        known: What it was trained on, word for word; empty: that was not recorded.
    """
    if not known or asked in known:
        return None
    lowered = {sentence.lower(): sentence for sentence in known}
    close = get_close_matches(asked.lower(), lowered, n=1)
    listed = " ".join(f"{shorten(sentence, SHOWN_CHARACTERS)!r}" for sentence in known[:5])
    more = f" and {len(known) - 5} more" if len(known) > 5 else ""
    nearest = f" Did you mean {lowered[close[0]]!r}?" if close else ""
    return (
        f"the policy was not trained on the instruction {shorten(asked, SHOWN_CHARACTERS)!r}: what it does may mean "
        f"nothing. It knows, word for word: {listed}{more}.{nearest}"
    )
