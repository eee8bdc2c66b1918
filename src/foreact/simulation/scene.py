# pyright: reportAttributeAccessIssue=false
# (the compiled part of MuJoCo comes without types)
"""The one scene of all tasks: two ViperX arms at a table, cubes, three bins, a lamp, three cameras.

Arms, table and meshes are gym-aloha's. Its XML is edited as text in memory, because MuJoCo's own editing
interface changes between versions, and compiled from memory, so nothing is left on disk. Bins and lamp are there
in every task: they stand next to the cubes' area in the view from above, and one scene lets tasks share a policy.
"""

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import mujoco

SIDES = ("left", "right")
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
FINGERS = ("left_finger", "right_finger")
FINGER_OPEN_M, FINGER_CLOSED_M = 0.057, 0.021

TIMESTEP_S = 0.002
CONTROL_HZ = 50
NUM_SUBSTEPS = round(1 / (CONTROL_HZ * TIMESTEP_S))

REST_POSE = (0.0, -1.55, 1.35, 0.0, 0.85, 0.0)
"""Six joint angles in rad: arms folded back, so that the top camera sees the whole table between them."""

CUBE_HALF_M = 0.02
CUBE_COLOURS = {"white": "0.97 0.97 0.95 1", "purple": "0.62 0.15 0.8 1"}
BIN_COLOURS = {
    "red": (0.85, 0.10, 0.10, 1.0),
    "green": (0.10, 0.70, 0.15, 1.0),
    "blue": (0.15, 0.25, 0.90, 1.0),
}
BIN_CENTRES_M = {"red": (-0.15, 0.375), "green": (-0.15, 0.50), "blue": (-0.15, 0.625)}
BIN_HALF_M, BIN_WALL_M, BIN_HEIGHT_M = 0.054, 0.004, 0.036
LAMP_DARK, LAMP_GO = (0.10, 0.10, 0.10, 1.0), (1.0, 0.85, 0.0, 1.0)
LAMP_POSITION_M = (0.0, 0.70, 0.02)

Colour = tuple[float, float, float, float]

_STIFFNESS = dict(waist=400, shoulder=800, elbow=600, forearm_roll=200, wrist_angle=150, wrist_rotate=60)
_DAMPING = dict(waist=40, shoulder=80, elbow=60, forearm_roll=15, wrist_angle=10, wrist_rotate=3)
_ROOM = (
    ("-1.5 0.5 0", "0.01 2 1.5"),
    ("1.5 0.5 0", "0.01 2 1.5"),
    ("0 -1 0", "2 0.01 1.5"),
    ("0 2 0", "2 0.01 1.5"),
    ("0 0.5 -1", "2 2 0.01"),
)
"""Centres and half sizes of four walls and a floor: what a wrist camera sees beyond the table."""
_PAD_FACE_M = 0.0224
_FINGER_STIFFNESS, _FINGER_DAMPING = 600, 20
_TABLE_COLOUR, _ARM_COLOUR, _WALL_COLOUR = "0.33 0.36 0.40 1", "0.10 0.10 0.11 1", "0.55 0.60 0.66 1"


def load_model(num_cubes: int = 1) -> mujoco.MjModel:
    """A model of the scene of the caller's own, to change at will (the lamp's colour, for example)."""
    return copy.copy(_compiled(num_cubes))


@cache
def _compiled(num_cubes: int) -> mujoco.MjModel:
    text, meshes = scene_xml(num_cubes)
    return mujoco.MjModel.from_xml_string(text, meshes)


def scene_xml(num_cubes: int) -> tuple[str, dict[str, bytes]]:
    """The scene as MJCF text, and the mesh files it names."""
    from gym_aloha.constants import ASSETS_DIR

    root = _read_with_includes(Path(ASSETS_DIR) / "bimanual_viperx_transfer_cube.xml")
    world = _child(root, "worldbody")
    world.remove(_child(world, "body", "box"))
    root.remove(_child(root, "keyframe"))
    _set_physics(root)
    _set_looks(root)
    _flatten_table(root)
    for side in SIDES:
        _equip_gripper(root, side)
        _pad_fingers(root, side)
    _add_lamp(world)
    for colour in BIN_CENTRES_M:
        _add_bin(world, colour)
    for colour in list(CUBE_COLOURS)[:num_cubes]:
        _add_cube(world, colour)
    meshes = {mesh.get("file", ""): b"" for mesh in root.iter("mesh")}
    return ElementTree.tostring(root, "unicode"), {name: (Path(ASSETS_DIR) / name).read_bytes() for name in meshes}


def _read_with_includes(path: Path) -> ElementTree.Element:
    """The file's root element with every `<include>` replaced by what it names, and equal sections merged."""
    root = ElementTree.parse(path).getroot()
    for parent in list(root.iter()):
        for position, child in reversed(list(enumerate(parent))):
            if child.tag == "include":
                parent[position : position + 1] = list(_read_with_includes(path.parent / child.get("file", "")))
    return _merge_sections(root)


def _merge_sections(root: ElementTree.Element) -> ElementTree.Element:
    if root.tag != "mujoco":
        return root
    merged: dict[str, ElementTree.Element] = {}
    for section in list(root):
        if section.tag in merged and section.tag in ("worldbody", "asset"):
            merged[section.tag].extend(list(section))
            root.remove(section)
        else:
            merged.setdefault(section.tag, section)
    return root


def _child(parent: ElementTree.Element, tag: str, name: str | None = None) -> ElementTree.Element:
    """The first element below `parent`, at any depth, of that tag and name."""
    return next(item for item in parent.iter(tag) if name is None or item.get("name") == name)


def _set_physics(root: ElementTree.Element) -> None:
    """Gains and damping that track 50 Hz targets to a few millimetres, and arms that weigh nothing."""
    _add(root, "option", timestep=str(TIMESTEP_S))
    _child(root, "compiler").set("inertiagrouprange", "0 5")
    for actuator in _child(root, "actuator"):
        joint = actuator.get("joint", "/").split("/")[1]
        actuator.set("kp", str(_STIFFNESS.get(joint, _FINGER_STIFFNESS)))
        actuator.set("kv", str(_DAMPING.get(joint, _FINGER_DAMPING)))
    equality = _add(root, "equality")
    for side in SIDES:  # one motor drives both fingers of the real gripper
        left, right = (f"vx300s_{side}/{finger}" for finger in FINGERS)
        _add(equality, "joint", joint1=right, joint2=left, polycoef="0 -1 0 0 0")
    for body in root.iter("body"):
        if body.get("name", "").startswith("vx300s"):
            body.set("gravcomp", "1")
    for joint in _child(root, "worldbody").iter("joint"):
        finger = "finger" in joint.get("name", "")
        values = {"armature": 0.1, "frictionloss": 0.1 if finger else 0.05, "damping": 10 if finger else 1}
        for key, value in values.items():
            joint.set(key, str(value))


def _set_looks(root: ElementTree.Element) -> None:
    """Plain, static, without shadows or multisampling (ten times the time), and a tight view from above."""
    quality = _child(root, "quality")
    quality.set("offsamples", "0")
    quality.set("shadowsize", "0")
    _add(root, "statistic", extent="1", center="0 0.5 0.2")
    _child(root, "map").set("znear", "0.03")  # times the extent, in m
    _child(root, "headlight").attrib = {
        "ambient": "0.4 0.4 0.4",
        "diffuse": "0.3 0.3 0.3",
        "specular": "0 0 0",
    }
    for light in root.iter("light"):
        light.attrib.update(castshadow="false", diffuse="0.2 0.2 0.2", specular="0 0 0")
    for geom in root.iter("geom"):
        geom.set("rgba", _TABLE_COLOUR if geom.get("name") == "table" else _ARM_COLOUR)
    for position, size in _ROOM:
        wall = dict(type="box", pos=position, size=size, rgba=_WALL_COLOUR, contype="0", conaffinity="0")
        _add(_child(root, "worldbody"), "geom", **wall)
    top = _child(root, "camera", "top")
    top.attrib = {"name": "top", "pos": "0.01 0.51 1.4", "xyaxes": "1 0 0 0 1 0", "fovy": "22"}


def _flatten_table(root: ElementTree.Element) -> None:
    """A box where the table's mesh is, to touch instead of it: on one contact point a cube would spin slowly."""
    table = _child(root, "body", "table")
    _stop_touching(_child(table, "geom"))
    _add(table, "geom", name="tabletop", type="box", pos="0 0 -0.015", size="0.61 0.381 0.015", rgba="0 0 0 0")


def _stop_touching(mesh: ElementTree.Element) -> None:
    mesh.set("contype", "0")
    mesh.set("conaffinity", "2")  # nothing has type 2, but a mesh that may collide gets a hull to be drawn with


def _pad_fingers(root: ElementTree.Element, side: str) -> None:
    """Flat pads that touch things instead of the fingers' meshes.

    MuJoCo finds one contact point between a mesh and a cube, about which the cube spins; between boxes, four.
    """
    for finger, direction in zip(FINGERS, (-1, 1), strict=True):
        body = _child(root, "body", f"vx300s_{side}/{finger}_link")
        _stop_touching(_child(body, "geom"))
        half_m = (0.0225, 0.003, 0.008)
        centre_m = (0.085 - half_m[0], direction * (_PAD_FACE_M - half_m[1]), 0)
        place = dict(pos=_numbers(centre_m), size=_numbers(half_m), rgba="0 0 0 0")
        contact = dict(condim="4", friction="1 0.005 0.0001", solref="0.01 1")
        _add(body, "geom", name=f"pad_{side}_{finger}", type="box", **place, **contact)


def _equip_gripper(root: ElementTree.Element, side: str) -> None:
    """A site between the finger tips, and a wrist camera that sees the tips and what lies ahead of them."""
    gripper = _child(root, "body", f"vx300s_{side}/gripper_link")
    _add(gripper, "site", name=f"tip_{side}", pos="0.135 0 0", rgba="0 0 0 0")
    camera = _child(gripper, "camera", f"{side}_wrist")
    # Fixed to the gripper: a camera that tracks a body turns over when the gripper points steeply down.
    fixed = dict(pos="-0.06 0 0.14", xyaxes="0 -1 0 0.105 0 0.21", fovy="55")
    camera.attrib = {"name": f"{side}_wrist", **fixed}


def _add_lamp(world: ElementTree.Element) -> None:
    look = dict(contype="0", conaffinity="0")
    body = _add(world, "body", name="lamp", pos=_numbers(LAMP_POSITION_M))
    dark = _numbers(LAMP_DARK)
    _add(body, "geom", name="lamp", type="cylinder", size="0.034 0.02", rgba=dark, **look)


def _add_bin(world: ElementTree.Element, colour: str) -> None:
    rgba, half, wall, height = _numbers(BIN_COLOURS[colour]), BIN_HALF_M, BIN_WALL_M, BIN_HEIGHT_M / 2
    place = _numbers((*BIN_CENTRES_M[colour], 0))
    body = _add(world, "body", name=f"bin_{colour}", pos=place, mocap="true")  # stands still unless a hand moves it
    floor = dict(pos="0 0 0.002", size=_numbers((half, half, 0.002)))
    _add(body, "geom", name=f"bin_{colour}_floor", type="box", rgba=rgba, **floor)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        size = _numbers((wall if x else half, wall if y else half, height))
        _add(body, "geom", type="box", rgba=rgba, size=size, pos=_numbers((x * half, y * half, height)))


def _add_cube(world: ElementTree.Element, colour: str) -> None:
    body = _add(world, "body", name=f"cube_{colour}", pos=_numbers((0.15, 0.5, CUBE_HALF_M)))
    _add(body, "freejoint", name=f"cube_{colour}")
    contact = dict(mass="0.05", condim="4", friction="1 0.005 0.0001", solref="0.01 1")
    size, rgba = _numbers((CUBE_HALF_M,) * 3), CUBE_COLOURS[colour]
    _add(body, "geom", name=f"cube_{colour}", type="box", size=size, rgba=rgba, **contact)


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _numbers(values: Sequence[float | int]) -> str:
    return " ".join(f"{value:g}" for value in values)
