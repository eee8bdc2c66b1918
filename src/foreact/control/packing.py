"""msgpack with NumPy arrays, as openpi's clients and servers pack them; nothing that is read is ever executed.

An array is the map {b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [2, 3]}, a NumPy scalar
{b"__npgeneric__": True, b"data": number, b"dtype": "<f4"}. What comes from outside is bounded before it is built.

Source: openpi, packages/openpi-client/src/openpi_client/msgpack_numpy.py.
"""

import re
from collections.abc import Mapping
from math import prod
from typing import Any

import msgpack
import numpy as np

from foreact.errors import InputError

_ARRAY, _SCALAR = b"__ndarray__", b"__npgeneric__"
_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
"""Truth values, whole numbers and real ones: no objects, no strings, no records."""
_MOST_DIMS, _MOST_ENTRIES, _MOST_NODES, _MOST_TEXT_BYTES = 8, 256, 4096, 65536
"""Of an array; of a map or list; of all maps and lists of a message; of a text. Far above any message of ours."""


def pack(value: Any) -> bytes:
    """Return plain data (maps, lists, text, numbers, NumPy arrays and scalars) as msgpack.

    Raises:
        InputError: Something else is in it, or an array of anything but numbers.
    """
    try:
        return msgpack.packb(value, default=_pack_array)  # type: ignore[return-value]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("message to send", got=error, allowed="maps, lists, text, numbers and arrays") from error


def unpack(data: bytes) -> Any:
    """Return the plain data of a msgpack message; arrays are read-only, and in the order of bytes they came in.

    Nothing is converted or copied here: whoever accepts an array's type does that (`to_native`).

    Raises:
        InputError: It is no msgpack, or nothing that `pack` makes.
    """
    budget = _Budget()
    try:
        return msgpack.unpackb(
            data,
            object_hook=budget.map,
            list_hook=budget.list,
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


def to_native(array: np.ndarray) -> np.ndarray:
    """Return a copy that can be written to, in this machine's order of bytes."""
    return array.astype(array.dtype.newbyteorder("="))


class _Budget:
    """Builds arrays from maps; counts what is built, so that a small message cannot grow large."""

    def __init__(self) -> None:
        self._left = _MOST_NODES

    def map(self, value: dict[Any, Any]) -> Any:
        self._spend(len(value))
        if _ARRAY in value:
            return _array(value)
        return _scalar(value) if _SCALAR in value else value

    def list(self, value: list[Any]) -> list[Any]:
        self._spend(len(value))
        return value

    def _spend(self, entries: int) -> None:
        self._left -= 1 + entries
        if self._left < 0:
            raise InputError("entries of a message", got=f"more than {_MOST_NODES}", allowed=f"up to {_MOST_NODES}")


def _pack_array(value: Any) -> Mapping[bytes, Any]:
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(f"{type(value).__name__}")
    _check_dtype(value.dtype.str)
    if isinstance(value, np.ndarray):
        return {_ARRAY: True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    return {_SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}


def _array(packed: Mapping[Any, Any]) -> np.ndarray:
    data, shape = packed.get(b"data"), packed.get(b"shape")
    dtype = _check_dtype(packed.get(b"dtype"))
    if not (isinstance(shape, list) and len(shape) <= _MOST_DIMS and all(_is_count(size) for size in shape)):
        raise InputError("shape of an array", got=str(shape)[:80], allowed=f"up to {_MOST_DIMS} sizes, 0 or more")
    if not (isinstance(data, bytes) and len(data) == prod(shape) * dtype.itemsize):
        got = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        allowed = f"{prod(shape) * dtype.itemsize} bytes, as {dtype} {shape} has"
        raise InputError("data of an array", got=got, allowed=allowed[:200])
    return np.frombuffer(data, dtype).reshape(shape)


def _scalar(packed: Mapping[Any, Any]) -> np.generic:
    data, dtype = packed.get(b"data"), _check_dtype(packed.get(b"dtype"))
    if not isinstance(data, bool | int | float):
        raise InputError("data of a NumPy scalar", got=type(data).__name__, allowed="a number")
    try:
        return dtype.type(data)
    except (OverflowError, ValueError) as error:
        raise InputError("data of a NumPy scalar", got=error, allowed=f"a number that {dtype} holds") from error


def _check_dtype(name: Any) -> np.dtype[Any]:
    if not (isinstance(name, str) and _PLAIN_DTYPE.fullmatch(name)):
        got = repr(name)[:80]
        raise InputError("dtype of an array", got=got, allowed="numbers: b1, i1 to i8, u1 to u8, f2 to f8")
    return np.dtype(name)


def _is_count(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**40
