"""foreact: imagine, then act. An open implementation of LingBot-VA, a world model that controls robots."""

from typing import TYPE_CHECKING, Any

from foreact.errors import NotInstalledError

if TYPE_CHECKING:
    from foreact.policy.checkpoint import load as load

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Find `foreact.load` on first use: the robot's side imports this package too, and must not reach torch."""
    if name == "load":
        try:
            from foreact.policy.checkpoint import load
        except ModuleNotFoundError as error:
            raise NotInstalledError("policies", missing=error.name, extra="policy") from error
        return load
    raise AttributeError(f"module 'foreact' has no attribute {name!r}")
