"""Episodes that a simulator ran as a client of the policy server, as it reports them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One finished episode of a client."""

    task: str
    """What the client calls the task; empty if it did not say."""
    seed: int
    """Of the episode, as the client said it."""
    success: bool
    """Whether the client counts it as a success."""
