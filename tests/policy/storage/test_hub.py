import errno
import os
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import HfApi

from foreact import hub
from foreact.errors import CheckpointError
from foreact.hub import REFUSED
from foreact.policy.storage.hub import WANTED, resolve

NAME = "robbyant/lingbot-va-base"


def response(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=httpx2.Request("GET", f"https://huggingface.co/api/models/{NAME}"))


def http_error(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    return kind(f"{status} Client Error.", response=response(status))


@pytest.fixture
def hub_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Let the one call with which a download begins fail in a given way, and try to fetch a repository."""

    def fetch(error: Exception, name: str = NAME, **how) -> str:
        def fail(*args, **kwargs):
            raise error

        monkeypatch.setattr(HfApi, "repo_info", fail)
        with pytest.raises(CheckpointError) as caught:
            resolve(name, cache_dir=tmp_path / "cache", **how)
        assert caught.value.__cause__ is not None
        return str(caught.value)

    return fetch


def make_cache(folder: Path, *names: str, commit: str = "a" * 40) -> Path:
    """A cache as huggingface_hub writes it: refs/main tells the commit, snapshots/COMMIT has links to blobs."""
    repository = folder / f"models--{NAME.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for number, name in enumerate(names):
        blob = repository / "blobs" / str(number)
        for path in (blob, snapshot / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text(name)
        (snapshot / name).symlink_to(blob)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return snapshot


def test_a_folder_is_used_as_it_is(tmp_path, monkeypatch):
    assert resolve(tmp_path) == resolve(str(tmp_path)) == tmp_path
    (tmp_path / NAME).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve(NAME) == Path(NAME)
    with pytest.raises(CheckpointError, match=r"revision of the folder.*got: v1.*leave it out"):
        resolve(tmp_path, revision="v1")


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "a/b/c", "tiny-policy", "", "owner/", "o wner/name"])
def test_what_is_neither_folder_nor_repository(name):
    with pytest.raises(CheckpointError, match=r"policy; got: no folder.*or one of: .*robbyant/lingbot-va-base"):
        resolve(name)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"got: the file .*model.safetensors; allowed: a folder"):
        resolve(tmp_path / "model.safetensors")


def test_names_that_the_hub_forbids(tmp_path):
    with pytest.raises(CheckpointError, match=r"repository .*got: HFValidationError.*allowed: a folder"):
        resolve("robbyant/lingbot--va", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tinny", "tiny"),
        ("lingbot-va-posttrain-libero", "robbyant/lingbot-va-posttrain-libero-long"),
        ("lingbot-va-posttrain-robotwins", "robbyant/lingbot-va-posttrain-robotwin"),
    ],
)
def test_names_that_are_nearly_right(name, meant):
    with pytest.raises(CheckpointError, match=f"did you mean '{meant}'"):
        resolve(name)


def test_only_weights_and_text_are_asked_for(monkeypatch, tmp_path):
    asked = []

    def remember(name, **how):
        asked.append((name, how))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", remember)
    assert resolve(NAME) == resolve(NAME, revision="v1", allow_patterns=["vae/*"], cache_dir=tmp_path) == tmp_path
    (_, default), (_, chosen) = asked
    assert default["allow_patterns"] == list(WANTED) and default["cache_dir"] == Path(constants.HF_HUB_CACHE)
    assert (chosen["revision"], chosen["allow_patterns"], chosen["cache_dir"]) == ("v1", ["vae/*"], tmp_path)
    assert {"*.bin", "*.pt", "*.py"} <= set(default["ignore_patterns"]) and default["ignore_patterns"] == list(REFUSED)


def test_gated(hub_says):
    said = hub_says(http_error(GatedRepoError, 403))
    assert f"accept its licence at https://huggingface.co/{NAME}" in said and "hf auth login" in said


def test_absent_or_private(hub_says):
    said = hub_says(http_error(RepositoryNotFoundError, 401), "robyant/lingbot-va-bse")
    assert "absent, or private" in said and f"did you mean '{NAME}'?" in said and "hf auth login" in said
    assert "did you mean" not in hub_says(http_error(RepositoryNotFoundError, 404), "someone/something-else")


def test_absent_revision(hub_says):
    said = hub_says(http_error(RevisionNotFoundError, 404), revision="v9")
    assert f"revision of repository '{NAME}'; got: 'v9'" in said and "/commits/main" in said


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("Name or service not known"),
        httpx2.ReadTimeout("timed out"),
        httpx2.ProxyError("proxy refused"),
        OfflineModeIsEnabled("offline"),
        LocalEntryNotFoundError("not on disk"),
        ConnectionError("reset by peer"),
        http_error(HfHubHTTPError, 503),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_network(hub_says, error, tmp_path):
    said = hub_says(error)
    assert str(tmp_path / "cache") in said and type(error).__name__ in said
    assert f"hf download {NAME} --local-dir DIR" in said and 'foreact.load("DIR")' in said


def test_a_full_disk(hub_says):
    said = hub_says(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert "No space left" in said and "GB free" in said and "HF_HOME" in said


def test_anything_else_is_said_in_one_line(hub_says):
    said = hub_says(RuntimeError("first\nsecond"))
    assert "RuntimeError: first" in said and "second" not in said and "try again" in said
    assert "no reason given" in hub_says(RuntimeError())


def test_offline_a_cached_repository_is_used(monkeypatch, tmp_path):
    """HF_HUB_OFFLINE=1: nothing is asked of the network, and what was fetched before is found."""
    snapshot = make_cache(tmp_path, "transformer/config.json", "vae/config.json")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(HfApi, "repo_info", lambda *a, **k: pytest.fail("the network was asked"))
    folder = resolve(NAME, cache_dir=tmp_path)
    assert folder == snapshot
    assert (folder / "transformer" / "config.json").read_text() == "transformer/config.json"
    assert resolve(NAME, revision="a" * 40, cache_dir=tmp_path) == snapshot
    with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE is set; not, or not whole, in the offline cache"):
        resolve(NAME, revision="v2", cache_dir=tmp_path)


def test_without_a_network_a_cached_repository_is_used(monkeypatch, tmp_path):
    snapshot = make_cache(tmp_path, "config.json")

    def fail(*args, **kwargs):
        raise httpx2.ConnectError("no route to host")

    monkeypatch.setattr(HfApi, "repo_info", fail)
    assert resolve(NAME, cache_dir=tmp_path) == snapshot
