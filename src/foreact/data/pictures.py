"""Pictures that a dataset keeps in its parquet rows instead of in a film."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from foreact.codecs.pixels import rgb_from_image
from foreact.data.bounds import check_inside, check_pixels
from foreact.errors import DatasetError


def read_cell(cell: Any, root: Path, where: str) -> UInt8[np.ndarray, "height width 3"]:
    """Return the picture in a parquet cell, RGB.

    Args:
        cell: The bytes of a PNG or JPEG file, or a table of `bytes` and `path` as Hugging Face's `datasets` writes it.
        root: The dataset's folder, to which a path without bytes is relative.
        where: Column, episode and row, for the message.

    Raises:
        DatasetError: There is no picture, or it is damaged.
    """
    content = cell_bytes(cell, root)
    if content is None and isinstance(cell, Mapping) and cell.get("path"):
        got = f"neither the picture nor a file {cell['path']}"
        raise DatasetError(where, got=got, cure="download the images as well")
    if content is None:
        raise DatasetError(where, got=type(cell).__name__, allowed="the bytes of a PNG or JPEG picture")
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_pixels(where, (image.height, image.width))
            return rgb_from_image(image)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise DatasetError(
            f"{where} is damaged", got=str(error), cure="download or record the dataset again"
        ) from error


def cell_bytes(cell: Any, root: Path) -> bytes | None:
    """Return the PNG or JPEG file in a parquet cell, or the one it refers to; None if there is none.

    Raises:
        DatasetError: It refers to a file outside the dataset.
    """
    path = None
    if isinstance(cell, Mapping):
        path, cell = cell.get("path"), cell.get("bytes")
    if isinstance(cell, (bytes, bytearray)):
        return bytes(cell)
    if cell is not None or not path or not (root / path).is_file():
        return None
    check_inside(root, [root / path])
    return (root / path).read_bytes()
