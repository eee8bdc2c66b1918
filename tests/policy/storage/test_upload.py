"""To the hub: what is uploaded is a whole policy, and whatever the hub says becomes an error of ours."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import filter_repo_objects

from foreact.commands.main import main
from foreact.errors import CheckpointError
from foreact.policy.loading import load_policy
from foreact.policy.storage.upload import push_folder


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

    def upload_folder(self, api: HfApi, *, repo_id: str, folder_path: str, commit_message: str, **rest) -> None:
        self.patterns = rest.get("allow_patterns")
        self.digest = load_policy(Path(folder_path)).digest()
        self.folder = Path(folder_path)
        assert ((self.folder / "README.md").is_file() or self.patterns) and commit_message
        self.uploads.append(repo_id)

    def upload_file(self, api: HfApi, *, repo_id: str, path_in_repo: str, path_or_fileobj: bytes) -> None:
        assert path_in_repo == "README.md"
        self.card = path_or_fileobj.decode()


@pytest.fixture
def hub(monkeypatch) -> Hub:
    hub = Hub()
    for name in ("create_repo", "upload_folder", "upload_file"):
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


def test_a_folder_is_uploaded_as_it_lies_there(tiny, hub: Hub, tmp_path: Path, capsys) -> None:
    policy = tiny.policy()
    policy.save_pretrained(tmp_path / "run" / "policy", provenance={"steps": 7})
    (tmp_path / "run" / "policy" / "notes.txt").write_text("mine")
    main(["push", str(tmp_path / "run"), "somebody/toy", "--private"])
    stored = " ".join(capsys.readouterr().out.split())
    assert "foreact.load('somebody/toy')" in stored and "names no licence" in stored
    assert hub.repositories == [("somebody/toy", {"private": True, "exist_ok": True})]
    assert (hub.digest, hub.folder) == (policy.digest(), tmp_path / "run" / "policy")
    card = (hub.folder / "README.md").read_text()
    assert "steps | 7" in card and "license" not in card and hub.card.strip() == card.strip()
    names = [path.relative_to(hub.folder).as_posix() for path in hub.folder.rglob("*") if path.is_file()]
    kept = set(filter_repo_objects(names, allow_patterns=hub.patterns))
    assert set(names) - kept == {"notes.txt", "README.md"}


def test_a_licence_is_named_only_if_the_user_names_one(tiny, hub: Hub, tmp_path: Path) -> None:
    tiny.policy().save_pretrained(tmp_path)
    before = (tmp_path / "README.md").read_text()
    push_folder(tmp_path, "somebody/toy", license_name="cc-by-4.0")
    assert ModelCard(hub.card).data.to_dict()["license"] == "cc-by-4.0"
    assert (tmp_path / "README.md").read_text() == before
    (tmp_path / "README.md").unlink()
    push_folder(tmp_path, "somebody/toy", license_name="mit")
    assert ModelCard(hub.card).data.to_dict()["license"] == "mit"


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "vae/diffusion_pytorch_model.safetensors"])
def test_half_a_policy_is_not_uploaded(tiny, hub: Hub, tmp_path: Path, lost: str) -> None:
    tiny.policy().save_pretrained(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(CheckpointError):
        push_folder(tmp_path, "somebody/toy")
    assert not hub.repositories


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
