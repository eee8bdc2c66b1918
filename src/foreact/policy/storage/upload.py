"""A policy to the Hugging Face hub."""

import tempfile
from pathlib import Path

from huggingface_hub import HfApi, constants

from foreact.errors import CheckpointError
from foreact.policy.networks import PolicyParts
from foreact.policy.storage.checkpoint import save_policy


def push(policy: PolicyParts, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload a policy to "owner/name", made if missing; return its address.

    Raises:
        CheckpointError: The hub refused, or cannot be reached; the message says what to do.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_policy(policy, Path(folder), provenance={})
        try:
            api = HfApi(token=token)
            api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message="A foreact policy")
        except Exception as error:  # huggingface_hub lets errors of its transport library through, which it has changed
            raise CheckpointError(
                f"upload to {repository!r}",
                got=(str(error).strip() or type(error).__name__).splitlines()[0],
                cure="with a network, log in with `hf auth login` as an account that may write there, then repeat",
            ) from error
    return f"{constants.ENDPOINT}/{repository}"
