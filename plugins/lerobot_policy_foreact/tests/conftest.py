"""The policy that ships with foreact, as foreact and as LeRobot load it."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched: what is needed is made here

from collections.abc import Callable, Iterator

import foreact
import pytest
import torch
from foreact.data.episodes import EpisodeDataset
from foreact.policy.policy import Policy

from lerobot_policy_foreact import ForeactConfig, ForeactPolicy
from robots import record


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Results to the last bit need a fixed order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The policy that ships, as foreact itself loads it."""
    return foreact.load("tiny")


@pytest.fixture
def make() -> Callable[..., ForeactPolicy]:
    """The same policy in LeRobot, with few steps unless told otherwise."""

    def build(**settings) -> ForeactPolicy:
        few = {"video_steps": 2, "action_steps": 2, "device": "cpu"}
        return ForeactPolicy(ForeactConfig(**(few | settings))).eval()

    return build


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, policy: Policy) -> EpisodeDataset:
    return record(tmp_path_factory.mktemp("data") / "reach", policy)
