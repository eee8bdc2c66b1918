import json
from dataclasses import dataclass
from typing import Literal

import pytest

from foreact.errors import CheckpointError, ConfigurationError, UnknownNameError
from foreact.settings import from_plain, list_builder, read_json, to_plain


@dataclass(frozen=True, kw_only=True)
class Wheel:
    radius_m: float


@dataclass(frozen=True, kw_only=True)
class Cart:
    kind: Literal["hand", "ox"]
    wheels: tuple[Wheel, ...]
    size_m: tuple[float, float] = (1.0, 2.0)
    num_oxen: int | None = None
    load_kg: float | None = None


def build(data) -> Cart:
    wheels = list_builder("wheels", lambda table: from_plain(Wheel, table, "wheel"))
    return from_plain(Cart, data, "cart", wheels=wheels)


def test_round_trip_of_nested_settings():
    cart = Cart(kind="ox", wheels=(Wheel(radius_m=0.5), Wheel(radius_m=0.6)), num_oxen=2)
    plain = to_plain(cart)
    assert plain == {
        "kind": "ox",
        "wheels": [{"radius_m": 0.5}, {"radius_m": 0.6}],
        "size_m": [1.0, 2.0],
        "num_oxen": 2,
        "load_kg": None,
    }
    assert build(plain) == cart


def test_numbers_become_plain_ones():
    cart = build({"kind": "ox", "wheels": [{"radius_m": 1}], "size_m": [1, 2], "num_oxen": 2, "load_kg": 3})
    assert [type(v) for v in (cart.wheels[0].radius_m, *cart.size_m, cart.load_kg)] == [float] * 4
    assert type(cart.num_oxen) is int


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "horse"}, "setting kind of cart.*'horse'.*hand, ox"),
        ({"wheels": 4}, "wheels.*got: 4.*a list of tables"),
        ({"wheels": [4]}, "settings of wheel.*a table"),
        ({"wheels": [{"radius_m": "big"}]}, "setting radius_m of wheel.*'big'.*float"),
        ({"wheels": [{}]}, "wheel lacks settings.*add radius_m"),
        ({"size_m": [1.0]}, "setting size_m of cart"),
        ({"size_m": [1.0, "x"]}, "setting size_m of cart"),
        ({"num_oxen": 1.5}, "setting num_oxen of cart"),
        ({"num_oxen": True}, "setting num_oxen of cart"),
        ({"load_kg": "heavy"}, "setting load_kg of cart"),
    ],
)
def test_every_mistake_is_named(change, message):
    with pytest.raises(ConfigurationError, match=message):
        build({"kind": "ox", "wheels": [{"radius_m": 0.5}], **change})


def test_unknown_settings_are_refused():
    with pytest.raises(UnknownNameError, match=r"setting of cart.*'wheel'.*kind, load_kg"):
        build({"kind": "ox", "wheels": [], "wheel": 1})


def test_no_table_at_all():
    with pytest.raises(ConfigurationError, match=r"settings of cart.*got: 3"):
        build(3)


def test_a_table_is_read(tmp_path):
    path = tmp_path / "cart.json"
    path.write_text(json.dumps({"kind": "ox", "wheels": []}))
    assert build(read_json(path)) == Cart(kind="ox", wheels=())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "configuration .*cart.json; got: .*; allowed: JSON; fetch it again"),
        (b"{'kind': 1}", "configuration .*cart.json; got: .*; allowed: JSON"),
        (b'{"kind": "ox"', "configuration .*cart.json"),
        (b"\xff\xfe\x00", "configuration .*cart.json"),
        (b"[1]", "configuration .*cart.json; got: list; allowed: a table"),
        (b"null", "configuration .*cart.json; got: NoneType"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    path = tmp_path / "cart.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_json(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "cart.json", tmp_path):
        with pytest.raises(CheckpointError, match=f"no file {path}; got: .*; check the path"):
            read_json(path)
    with pytest.raises(CheckpointError, match=f"got: there is no folder {tmp_path / 'away'} either"):
        read_json(tmp_path / "away" / "cart.json")
