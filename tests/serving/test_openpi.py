"""openpi's own client, as it is on PyPI, gets what the policy says."""

import numpy as np
import pytest

from foreact.policy.controllers import with_room


@pytest.fixture
def openpi():
    return pytest.importorskip("openpi_client.websocket_client_policy").WebsocketClientPolicy


def expected(policy, observation: dict, seed: int = 0) -> np.ndarray:
    session = with_room(policy).start(observation["prompt"], seed=seed)
    images = {camera: observation[f"observation/images/{camera}"][None] for camera in ("top", "wrist")}
    with_room(policy).observe_first(session, images, observation["observation/state"])
    return with_room(policy).predict(session).actions


def test_the_same_actions_for_the_same_observation_and_seed(tiny, house, observed, openpi) -> None:
    policy = tiny.policy()
    server = house.server(policy)
    client = openpi("127.0.0.1", server.port)
    for seed in (0, 7):
        given = observed(seed, seed=seed)
        reply = client.infer(given)
        np.testing.assert_allclose(reply["actions"], expected(policy, given, seed), atol=1e-5)
        assert reply["actions"].dtype == np.float32
    assert {"queue_ms", "infer_ms", "prev_total_ms"} <= set(reply["server_timing"])
    assert client.get_server_metadata()["cameras"] == {"top": [16, 8], "wrist": [16, 8]}
