"""To the hub: what is uploaded is a whole policy, and whatever the hub says becomes an error of ours."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

from foreact.errors import CheckpointError
from foreact.policy.loading import load_policy


class Hub:
    """Writes down what is asked of it."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.repositories: list[tuple[str, dict]] = []
        self.uploads: list[str] = []
        self.digest = ""

    def create_repo(self, api: HfApi, repository: str, **settings) -> None:
        self.token = api.token  # type: ignore[assignment]
        self.repositories.append((repository, settings))

    def upload_folder(self, api: HfApi, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.digest = load_policy(Path(folder_path)).digest()
        self.folder = Path(folder_path)
        assert (self.folder / "README.md").is_file() and commit_message
        self.uploads.append(repo_id)


@pytest.fixture
def hub(monkeypatch) -> Hub:
    hub = Hub()
    for name in ("create_repo", "upload_folder"):
        call = getattr(hub, name)
        monkeypatch.setattr(HfApi, name, lambda api, *a, call=call, **settings: call(api, *a, **settings))
    return hub


def test_a_whole_policy_is_uploaded(tiny, hub: Hub) -> None:
    policy = tiny.policy()
    address = policy.push_to_hub("somebody/toy", private=True, token="hf_secret")
    assert address.endswith("/somebody/toy")
    assert hub.repositories == [("somebody/toy", {"private": True, "exist_ok": True})]
    assert (hub.uploads, hub.token, hub.digest) == (["somebody/toy"], "hf_secret", policy.digest())
    assert not hub.folder.exists(), "the temporary folder is gone"


def test_repositories_are_public_unless_asked_otherwise(tiny, hub: Hub) -> None:
    tiny.policy().push_to_hub("somebody/toy")
    assert hub.repositories[0][1]["private"] is False


class TransportError(Exception):
    """Stands for those of the library that huggingface_hub sends with; it has changed them, and lets them through."""


RESPONSE: Any = SimpleNamespace(headers={}, request=None, status_code=403)
ERRORS = [
    HfHubHTTPError("403 Forbidden: no right to write", response=RESPONSE),
    HFValidationError("Repo id must be 'name' or 'owner/name'"),
    OfflineModeIsEnabled("Cannot reach the hub: offline mode is enabled"),
    LocalTokenNotFoundError("Token is required, but no token found"),
    TransportError("Name or service not known"),
    OSError(28, "No space left on device"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("call", ["create_repo", "upload_folder"])
def test_what_the_hub_refuses_is_an_error_with_what_to_do(tiny, hub: Hub, monkeypatch, error, call: str) -> None:
    def refuse(*_, **__) -> None:
        raise error

    monkeypatch.setattr(HfApi, call, refuse)
    with pytest.raises(CheckpointError, match=r"upload to 'somebody/toy'.*hf auth login") as caught:
        tiny.policy().push_to_hub("somebody/toy")
    assert str(error).splitlines()[0] in str(caught.value)
    assert not hub.uploads


def test_a_policy_in_eight_bits_never_reaches_the_hub(tiny, hub: Hub) -> None:
    pytest.importorskip("torchao")
    from foreact.policy.storage.placement import layers, quantize_layer

    policy = tiny.policy()
    quantize_layer(layers(policy.networks.model)[0], "int8")
    with pytest.raises(CheckpointError, match="8 bits"):
        policy.push_to_hub("somebody/toy")
    assert not hub.repositories
