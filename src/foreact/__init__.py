"""foreact: imagine, then act. An open implementation of LingBot-VA, a world model that controls robots.

What users need is here: `import foreact` is enough. It is loaded on first use, for the robot's side imports this
package too, and must not reach torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from foreact.errors import ForeactError, NotInstalledError

if TYPE_CHECKING:
    from foreact.control.client import Client as Client
    from foreact.data.episodes import EpisodeDataset as EpisodeDataset
    from foreact.embodiments import Embodiment as Embodiment
    from foreact.embodiments import load_embodiment as load_embodiment
    from foreact.evaluation.suite import EvaluationConfig as EvaluationConfig
    from foreact.evaluation.suite import evaluate as evaluate
    from foreact.policy.controllers import PolicyController as PolicyController
    from foreact.policy.loading import load as load
    from foreact.policy.policy import Policy as Policy
    from foreact.policy.session import Session as Session
    from foreact.recipes import get_recipe as get_recipe
    from foreact.training.recipe import Recipe as Recipe
    from foreact.training.run import train as train
    from foreact.types import ActionChunk as ActionChunk
    from foreact.types import Observation as Observation

__version__ = "0.1.0"
__all__ = [
    "ActionChunk",
    "Client",
    "Embodiment",
    "EpisodeDataset",
    "EvaluationConfig",
    "ForeactError",
    "Observation",
    "Policy",
    "PolicyController",
    "Recipe",
    "Session",
    "evaluate",
    "get_recipe",
    "load",
    "load_embodiment",
    "train",
]

_HOMES = {
    "ActionChunk": "foreact.types",
    "Client": "foreact.control.client",
    "Embodiment": "foreact.embodiments",
    "EpisodeDataset": "foreact.data.episodes",
    "EvaluationConfig": "foreact.evaluation.suite",
    "Observation": "foreact.types",
    "Policy": "foreact.policy.policy",
    "PolicyController": "foreact.policy.controllers",
    "Recipe": "foreact.training.recipe",
    "Session": "foreact.policy.session",
    "evaluate": "foreact.evaluation.suite",
    "get_recipe": "foreact.recipes",
    "load": "foreact.policy.loading",
    "load_embodiment": "foreact.embodiments",
    "train": "foreact.training.run",
}
"""Where each public name lives."""


def __getattr__(name: str) -> Any:
    """Find a public name on first use.

    Raises:
        NotInstalledError: A package that it needs is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'foreact' has no attribute {name!r}")
    try:
        found = getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        what = "policies" if name == "load" else f"foreact.{name}"
        raise NotInstalledError(what, missing=error.name, extra="policy") from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the public names, for completion in a shell."""
    return sorted([*globals(), *__all__])
