"""msgpack with arrays: what openpi's packing gives and takes, and nothing that hurts."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from foreact.control.packing import pack, to_native, unpack
from foreact.errors import InputError

DTYPES = st.sampled_from(["?", "u1", "i2", "<i4", ">i4", "i8", "<f4", ">f4", "f8", "f2"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: st_np.arrays(np.dtype(dtype), st_np.array_shapes(min_dims=0, min_side=0, max_side=4))
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=9)
PLAIN = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@given(PLAIN)
def test_plain_data_comes_back(value) -> None:
    assert unpack(pack(value)) == value


@given(ARRAYS)
def test_arrays_come_back_as_they_were_and_are_converted_when_they_are_accepted(array: np.ndarray) -> None:
    came = unpack(pack({"x": array}))["x"]
    assert came.dtype == array.dtype and not came.flags.writeable
    back = to_native(came)
    assert back.shape == array.shape and back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, array)
    assert back.flags.writeable and back.flags.owndata | (back.base is not None)


@given(ARRAYS)
def test_as_openpi_packs(array: np.ndarray) -> None:
    openpi = pytest.importorskip("openpi_client.msgpack_numpy")
    np.testing.assert_array_equal(unpack(openpi.packb({"x": array}))["x"], array)
    np.testing.assert_array_equal(openpi.unpackb(pack({"x": array}))["x"], array)
    if array.size:
        scalar = array.reshape(-1)[0]
        np.testing.assert_equal(unpack(openpi.packb({"x": scalar}))["x"], scalar)
        np.testing.assert_equal(openpi.unpackb(pack({"x": scalar}))["x"], scalar)


@pytest.mark.parametrize("count", [10_000, pytest.param(200_000, marks=pytest.mark.slow)])
def test_any_bytes_are_read_or_refused(count: int) -> None:
    rng, num_read = np.random.default_rng(0), 0
    for size in rng.integers(0, 48, count):
        data = bytearray(rng.bytes(int(size)))
        if size:  # begin with something that holds others: a map, a list, or any
            data[0] = rng.choice([data[0], 0x81 + data[0] % 8, 0x91 + data[0] % 8, 0xC4, 0xDC, 0xDF])
        try:
            unpack(bytes(data))
            num_read += 1
        except InputError:
            pass
    assert 0 < num_read < count


def array(**changes) -> bytes:
    usual = {b"__ndarray__": True, b"data": bytes(24), b"dtype": "<f4", b"shape": [2, 3]}
    return msgpack.packb(
        {name.encode(): changes[name] for name in changes}
        | {name: value for name, value in usual.items() if name.decode() not in changes}
    )


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (array(dtype="|O8"), "dtype of an array"),
        (array(dtype="V8"), "dtype of an array"),
        (array(dtype="c8"), "dtype of an array"),
        (array(dtype=["f4"]), "dtype of an array"),
        (array(data=bytes(23)), "23 bytes"),
        (array(data="text"), "data of an array; got: str"),
        (array(shape=[2**39, 2**39, 2**39]), "data of an array"),
        (array(shape=[-2, -3]), "shape of an array"),
        (array(shape=[2.0, 3.0]), "shape of an array"),
        (array(shape=[1] * 9 + [6]), "shape of an array"),
        (array(shape=6), "shape of an array"),
        (msgpack.packb({b"__npgeneric__": True, b"data": "x", b"dtype": "<f4"}), "NumPy scalar; got: str"),
        (msgpack.packb({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}), "NumPy scalar"),
        (msgpack.packb([[0] * 200] * 30), "entries of a message"),
        (msgpack.packb([0] * 257), "cannot be read"),
        (msgpack.packb("x" * 70_000), "cannot be read"),
        (msgpack.packb(msgpack.ExtType(3, b"x")), "cannot be read"),
        (b"\x91" * 5000, "cannot be read"),
        (b"\xdd\xff\xff\xff\xff", "cannot be read"),
        (b"", "cannot be read"),
        (msgpack.packb(1) + b"\x00", "cannot be read"),
        (msgpack.packb({1: 2}), "cannot be read"),
        (b"\xa2\xff\xff", "cannot be read"),
    ],
)
def test_what_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        unpack(data)


@pytest.mark.parametrize("value", [object(), np.array([object()]), np.complex64(1), {"x": {1, 2}}, 2**70])
def test_what_cannot_be_sent(value) -> None:
    with pytest.raises(InputError, match="message to send"):
        pack(value)
