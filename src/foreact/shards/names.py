"""How the files of one network are called: Hugging Face's convention."""

SUFFIX = ".safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
"""Files that can run code when they are opened."""


def single_file(stem: str) -> str:
    """Return the name of the one file that holds every tensor."""
    return stem + SUFFIX


def index_file(stem: str) -> str:
    """Return the name of the file that says which shard holds which tensor."""
    return f"{single_file(stem)}.index.json"


def shard_file(stem: str, number: int, total: int) -> str:
    """Return the name of a shard, counted from 1."""
    return f"{stem}-{number:05d}-of-{total:05d}{SUFFIX}"


def shard_pattern(stem: str) -> str:
    """Return the pattern that any shard's name matches."""
    return f"{stem}-*-of-*{SUFFIX}"
