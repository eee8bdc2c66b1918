"""msgpack with arrays as the package msgpack-numpy writes them; what comes from outside is checked before it is built.

An array is the map {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [2, 3], b"data": bytes}; a NumPy scalar is the
same with b"nd" False and no shape.
"""

import re
from math import prod
from typing import Any

import msgpack
import numpy as np

from foreact.errors import InputError

_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_MOST_TEXT_BYTES, _MOST_ENTRIES, _MOST_DIMS = 65536, 4096, 8


def pack(value: Any) -> bytes:
    """Return plain data (maps, lists, text, numbers, arrays) as msgpack."""
    return msgpack.packb(value, default=_from_array)  # type: ignore[return-value]


def unpack(data: bytes) -> Any:
    """Return the plain data of a message.

    Raises:
        InputError: It is no msgpack, or holds arrays of anything but numbers.
    """
    try:
        return msgpack.unpackb(
            data,
            object_hook=_to_array,
            max_str_len=_MOST_TEXT_BYTES,
            max_array_len=_MOST_ENTRIES,
            max_map_len=_MOST_ENTRIES,
            max_ext_len=0,
        )
    except InputError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        got = f"{len(data)} bytes that cannot be read ({error or type(error).__name__})"
        raise InputError("message", got=got, allowed="msgpack") from error


def _from_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        kind = {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": value.shape}
        return kind | {b"data": np.ascontiguousarray(value).tobytes()}
    if isinstance(value, np.generic):
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _to_array(value: dict[Any, Any]) -> Any:
    is_array = value.get(b"nd")
    if not isinstance(is_array, bool):
        return value
    dtype, data, shape = value.get(b"type"), value.get(b"data"), value.get(b"shape", []) if is_array else []
    if not (isinstance(dtype, str) and _PLAIN_DTYPE.fullmatch(dtype)):
        raise InputError("type of an array", got=repr(dtype)[:80], allowed="numbers: b1, i1 to i8, u1 to u8, f2 to f8")
    sizes_fit = isinstance(shape, list) and len(shape) <= _MOST_DIMS and all(type(n) is int and n >= 0 for n in shape)
    if not (isinstance(data, bytes) and sizes_fit and len(data) == prod(shape) * np.dtype(dtype).itemsize):
        raise InputError("data of an array", got=f"shape {str(shape)[:80]}", allowed="as many bytes as the shape says")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array if is_array else array[()]
