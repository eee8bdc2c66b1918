"""foreact's policies in LeRobot, which finds this package by its name alone: `--policy.type=foreact`."""

try:
    import lerobot  # noqa: F401
except ImportError as error:
    raise ImportError("lerobot_policy_foreact needs LeRobot: pip install 'lerobot>=0.6,<0.7'") from error

from lerobot_policy_foreact.configuration_foreact import ForeactConfig
from lerobot_policy_foreact.modeling_foreact import ForeactPolicy
from lerobot_policy_foreact.processor_foreact import make_foreact_pre_post_processors

__all__ = ["ForeactConfig", "ForeactPolicy", "make_foreact_pre_post_processors"]
