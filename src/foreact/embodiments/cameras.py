"""How several cameras share one latent picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from einops import pack, rearrange, unpack

from foreact.embodiments.resizing import interpolate_frames, resize_frames
from foreact.errors import ConfigurationError, InputError
from foreact.settings import from_plain, to_plain

Array = TypeVar("Array")
"""A NumPy array or a torch tensor: einops treats both alike, so this room needs no torch."""


@dataclass(frozen=True, kw_only=True)
class CameraLayout:
    """Which cameras a policy sees, how large, and where each lies on the canvas of latents.

    Every camera is a picture of its own with its own causal VAE stream: no convolution mixes cameras; only
    their latents are laid side by side. That is how the published weights were trained, the two wrists of the
    T shape included.
    """

    kind: Literal["side_by_side", "t_shape"]
    """`side_by_side`: along the width, in order. `t_shape`: the second and third camera (wrists) at half
    resolution, side by side, on top of the first (head) along the height."""
    cameras: tuple[str, ...]
    """Camera names in order; for the T shape: head, left wrist, right wrist."""
    height: int
    """Height of a full-resolution picture, pixels."""
    width: int
    """Width of a full-resolution picture, pixels."""
    resampling: Literal["antialiased", "bilinear"] = "antialiased"
    """How frames of another size are resized. `antialiased`: by averaging, to bytes. `bilinear`: from the four nearest
    pixels, unrounded, as the published weights were trained."""

    def __post_init__(self) -> None:
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ConfigurationError("cameras of a layout", got=self.cameras, allowed="one or more, all different")
        if self.kind == "t_shape" and len(self.cameras) != 3:
            raise ConfigurationError(
                "cameras of a t_shape layout",
                got=", ".join(self.cameras),
                allowed="three: head, left wrist, right wrist",
                cure="name three cameras or use side_by_side",
            )
        step = 2 if self.kind == "t_shape" else 1
        if min(self.height, self.width) < 1 or self.height % step or self.width % step:
            allowed = "even and positive (wrists have half of it)" if step == 2 else "positive"
            raise ConfigurationError("picture size", got=f"{self.height}x{self.width}", allowed=allowed)

    @property
    def picture_sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each camera's picture, pixels, in the order of `cameras`."""
        full, half = (self.height, self.width), (self.height // 2, self.width // 2)
        return tuple(half if self.kind == "t_shape" and n > 0 else full for n in range(len(self.cameras)))

    def canvas_shape(self, spatial_factor: int) -> tuple[int, int]:
        """Rows and columns of the latent canvas for a VAE that shrinks by `spatial_factor`.

        Raises:
            ConfigurationError: A picture's size is no multiple of the factor.
        """
        for camera, size in zip(self.cameras, self.picture_sizes, strict=True):
            if size[0] % spatial_factor or size[1] % spatial_factor:
                raise ConfigurationError(
                    f"picture of camera {camera!r} for a VAE that shrinks {spatial_factor} times",
                    got=f"{size[0]}x{size[1]}",
                    allowed=f"multiples of {spatial_factor}",
                    cure="change height and width of the layout" + " (wrists have half)" * (size[0] < self.height),
                )
        rows, columns = self.height // spatial_factor, self.width // spatial_factor
        return (rows + rows // 2, columns) if self.kind == "t_shape" else (rows, columns * len(self.cameras))

    def pictures(self, images: Mapping[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """What each VAE stream encodes: camera name and frames [time, height, width, 3], resized where needed.

        The frames are uint8; float32, 0 to 255, where `bilinear` has resized them.

        Args:
            images: Camera name to uint8 [time, height, width, 3]; other cameras are ignored.

        Raises:
            InputError: A camera is missing, is no uint8 clip of RGB frames, or is shorter than another.
        """
        check_pictures(images)
        if missing := [camera for camera in self.cameras if camera not in images]:
            raise InputError(
                f"images lack cameras {', '.join(missing)}",
                got=", ".join(images) or "none",
                allowed=", ".join(self.cameras),
            )
        for camera in self.cameras:
            check_clip(camera, images[camera])
        lengths = {camera: len(images[camera]) for camera in self.cameras}
        if len(set(lengths.values())) > 1:
            raise InputError("numbers of frames", got=lengths, allowed="the same for every camera")
        sizes = zip(self.cameras, self.picture_sizes, strict=True)
        resize = resize_frames if self.resampling == "antialiased" else interpolate_frames
        return [(camera, resize(images[camera], *size)) for camera, size in sizes]

    def uncompose(self, pictures: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Camera name to its picture [time, height, width, 3]; the pictures in the order of `cameras`."""
        self._check_count("pictures", pictures)
        for camera, picture, size in zip(self.cameras, pictures, self.picture_sizes, strict=True):
            if tuple(picture.shape[1:]) != (*size, 3):
                allowed = f"[time, {size[0]}, {size[1]}, 3]"
                raise InputError(f"picture of camera {camera!r}", got=tuple(picture.shape), allowed=allowed)
        return dict(zip(self.cameras, pictures, strict=True))

    def assemble(self, latents: Sequence[Array]) -> Array:
        """The canvas [..., rows, columns] of latents [..., h, w], one per picture in the order of `cameras`.

        Raises:
            InputError: The number of latents or their shapes do not fit the layout.
        """
        self._check_count("latents", latents)
        shapes = [tuple(latent.shape) for latent in latents]  # type: ignore[attr-defined]
        *leading, rows, columns = shapes[0]
        small = (*leading, rows // 2, columns // 2) if self.kind == "t_shape" else shapes[0]
        if any(shape != small for shape in shapes[1:]):
            raise InputError(f"latents of a {self.kind} layout", got=shapes, allowed=f"{small} after the first")
        if self.kind == "side_by_side":
            return rearrange(list(latents), "camera ... h w -> ... h (camera w)")  # type: ignore[arg-type]
        wrists = rearrange(list(latents[1:]), "camera ... h w -> ... h (camera w)")  # type: ignore[arg-type]
        return pack([wrists, latents[0]], _rows_pattern(len(leading)))[0]  # type: ignore[list-item]

    def split(self, canvas: Array) -> list[Array]:
        """The inverse of `assemble`: one [..., h, w] per picture.

        Raises:
            InputError: The canvas does not divide into the layout's pictures.
        """
        *leading, rows, columns = canvas.shape  # type: ignore[attr-defined]
        num_columns = 2 if self.kind == "t_shape" else len(self.cameras)
        num_rows = 3 if self.kind == "t_shape" else 1
        if rows % num_rows or columns % num_columns:
            raise InputError(
                f"canvas of a {self.kind} layout of {len(self.cameras)} cameras",
                got=f"{rows}x{columns}",
                allowed=f"rows in multiples of {num_rows}, columns of {num_columns}",
            )
        if self.kind == "side_by_side":
            return _columns(canvas, num_columns)
        half = rows // 3
        wrists, head = unpack(canvas, [(half,), (rows - half,)], _rows_pattern(len(leading)))
        return [head, *_columns(wrists, 2)]

    def _check_count(self, what: str, items: Sequence[Any]) -> None:
        if len(items) != len(self.cameras):
            allowed = f"one per camera: {', '.join(self.cameras)}"
            raise InputError(f"number of {what}", got=len(items), allowed=allowed)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON. The usual resampling goes unsaid: names of caches are made from this text."""
        plain = to_plain(self)
        return plain if self.resampling != "antialiased" else {k: v for k, v in plain.items() if k != "resampling"}

    @classmethod
    def from_dict(cls, data: Any) -> "CameraLayout":
        """The inverse of `to_dict`; unknown keys are errors."""
        return from_plain(cls, data, "camera layout")


def check_pictures(images: Any) -> None:
    """Refuse what is no dictionary of clips.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(images, Mapping):
        allowed = "a dictionary: camera to uint8 [time, height, width, 3]"
        raise InputError("images", got=type(images).__name__, allowed=allowed)


def check_clip(camera: str, clip: np.ndarray) -> None:
    """Refuse what is no clip of a camera.

    Raises:
        InputError: It is something else than uint8 [time, height, width, 3].
    """
    shape = getattr(clip, "shape", ())
    dtype = getattr(clip, "dtype", type(clip).__name__)
    if not (dtype == np.uint8 and len(shape) == 4 and shape[-1] == 3 and min(shape) > 0):
        allowed = "uint8 [time, height, width, 3], none of them 0"
        cure = "of a single picture, picture[None] is a clip" if len(shape) == 3 else None
        raise InputError(f"images of camera {camera!r}", got=f"{dtype} {list(shape)}", allowed=allowed, cure=cure)


def _columns(canvas: Any, num_columns: int) -> list[Any]:
    return list(rearrange(canvas, "... h (camera w) -> camera ... h w", camera=num_columns))


def _rows_pattern(num_leading: int) -> str:
    return " ".join(f"leading{n}" for n in range(num_leading)) + " * columns"
