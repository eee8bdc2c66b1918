"""LeRobot's pipelines around the policy: keys renamed, a batch axis, the device. No numbers are changed."""

from typing import Any

from lerobot.lerobot_types import PolicyAction
from lerobot.processor import PolicyProcessorPipeline, make_default_pre_post_processors
from torch import Tensor

from lerobot_policy_foreact.configuration_foreact import ForeactConfig


def make_foreact_pre_post_processors(
    config: ForeactConfig, dataset_stats: dict[str, dict[str, Tensor]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]], PolicyProcessorPipeline[PolicyAction, PolicyAction]
]:
    """Return LeRobot's default pipelines, their normalisation the identity.

    Args:
        config: Its mapping is the identity, which it checks.
        dataset_stats: Not used: pictures, states and actions are in the robot's own units on both sides, and the
            checkpoint's codec normalises by the statistics that it was trained with.
    """
    return make_default_pre_post_processors(config, None)
