"""Other programs' messages: what a server says instead of our own, if it is told to (`foreact serve --dialect`)."""

from collections.abc import Callable

from foreact.errors import UnknownNameError
from foreact.serving.config import OWN_DIALECT
from foreact.serving.dialects.dialect import Conversation
from foreact.serving.dialects.lingbot import LingBotConversation
from foreact.serving.dialects.xpolicylab import XPolicyLabConversation
from foreact.serving.host import Host

DIALECTS: dict[str, Callable[[Host], Conversation]] = {
    "lingbot": LingBotConversation,
    "xpolicylab": XPolicyLabConversation,
}
"""Whose clients are answered, by name."""


def make_conversation(dialect: str, host: Host) -> Conversation:
    """Return a new client's conversation in a dialect.

    Raises:
        UnknownNameError: There is no such dialect; the message lists those there are.
        ConfigurationError: The dialect cannot speak of the policy's robot.
    """
    if dialect not in DIALECTS:
        raise UnknownNameError("dialect", dialect, (OWN_DIALECT, *DIALECTS))
    return DIALECTS[dialect](host)
