"""What the site's builder does beside its plugins: links that leave `docs/` name a file of the repository instead."""

import posixpath
import re

LINK_OUT = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((\.\./[^)\s]+)\)")
"""A link or picture whose address leaves the folder of the documents."""
HERE = "docs"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Return a page's text in which each link out of `docs/` is its words and, in brackets, the file's path."""
    return LINK_OUT.sub(_named, markdown)


def _named(match: re.Match[str]) -> str:
    is_picture, words, address = match.groups()
    path = posixpath.normpath(posixpath.join(HERE, address))
    if is_picture:
        return f"*(picture in the repository: `{path}`)*"
    plain = words.strip("`")
    return f"`{path}`" if plain in path else f"{words} (`{path}`)"
