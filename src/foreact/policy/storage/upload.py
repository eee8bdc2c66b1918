"""A policy to the Hugging Face hub."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, constants

from foreact.errors import CheckpointError
from foreact.policy.networks import PolicyParts
from foreact.policy.storage.checkpoint import CARD_FILE, CONFIG_FILE, open_networks, open_policy, save_policy

FILES = ("config.json", "model*.safetensors", "model*.safetensors.index.json", "vae/*", "text_encoder/*", "tokenizer/*")
"""What a policy consists of, its card apart; other files in its folder stay here."""


def push_folder(
    folder: Path, repository: str, *, private: bool = False, token: str | None = None, license_name: str | None = None
) -> str:
    """Upload the files of a policy to "owner/name", made if missing; return its address. No weight is loaded.

    Args:
        folder: Of a policy, or of the training run that it is in.
        repository: On the hub.
        private: Whether a new repository is seen by its owner alone.
        token: Of an account that may write there; None: the one that is logged in.
        license_name: Put into the model card, as the hub writes it: "mit", "cc-by-4.0"; None: as the card is.

    Raises:
        CheckpointError: The policy is not whole, or the hub refused, or cannot be reached.
    """
    folder = folder / "policy" if (folder / "policy" / CONFIG_FILE).is_file() else folder
    open_networks(open_policy(folder))  # reads every header: half a policy is not uploaded
    card = ModelCard.load(folder / CARD_FILE) if (folder / CARD_FILE).is_file() else None
    if license_name is not None:
        card = card or ModelCard(f"---\nlibrary_name: foreact\n---\n\n# {repository}\n")
        card.data["license"] = license_name
    with _explained(repository):
        api = HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=list(FILES), commit_message="A foreact policy"
        )
        if card is not None:
            api.upload_file(repo_id=repository, path_in_repo=CARD_FILE, path_or_fileobj=str(card).encode())
    return f"{constants.ENDPOINT}/{repository}"


def push(policy: PolicyParts, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload a policy to "owner/name", made if missing; return its address.

    Raises:
        CheckpointError: The hub refused, or cannot be reached; the message says what to do.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_policy(policy, Path(folder), provenance={})
        with _explained(repository):
            api = HfApi(token=token)
            api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="A foreact policy")
    return f"{constants.ENDPOINT}/{repository}"


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # huggingface_hub lets errors of its transport library through, which it has changed
        raise CheckpointError(
            f"upload to {repository!r}",
            got=(str(error).strip() or type(error).__name__).splitlines()[0],
            cure="with a network, log in with `hf auth login` as an account that may write there, then repeat",
        ) from error
