"""openpi's messages: one map of observations in, one chunk of actions out, nothing remembered.

    "observation/images/NAME" or "images" / NAME    a picture of each camera, uint8 [height, width, 3] or [3, height,
                                                    width]; NAME as the server's facts have it
    "observation/state" or "state"                  numbers [entries]
    "prompt"                                        what to do, in words
    "seed"                                          of the policy's noise; 0 by default

The reply is {"actions": float32 [horizon, dofs], "server_timing": milliseconds by name}: what a policy answers that has
seen nothing else. A refusal is a text, which openpi's clients raise as an error; the connection lives on.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from foreact.control.packing import pack
from foreact.control.protocol import Error, RefusalError, describe
from foreact.serving.engine import Computed
from foreact.serving.intake import MOST_STATE_ENTRIES, Intake
from foreact.types import Observation

_PREFIX = "observation/images/"


def read_observation(plain: Mapping[Any, Any], intake: Intake) -> tuple[Observation, str, int]:
    """Return the observation, the instruction and the seed.

    Raises:
        RefusalError: bad_observation or too_large.
    """
    nested = plain.get("images", {})
    found = dict(nested) if isinstance(nested, dict) else {}
    found |= {k[len(_PREFIX) :]: v for k, v in plain.items() if isinstance(k, str) and k.startswith(_PREFIX)}
    images = intake.pictures({name: _picture(name, image) for name, image in found.items() if isinstance(name, str)})
    state = _state(plain.get("observation/state", plain.get("state")))
    prompt, seed = plain.get("prompt"), plain.get("seed", 0)
    if not isinstance(prompt, str):
        raise RefusalError("bad_observation", "prompt", got=describe(prompt), allowed="text")
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise RefusalError("bad_observation", "seed", got=describe(seed), allowed="a whole number, 0 or more")
    return Observation(images=images, state=intake.state(state), time_s=0.0), prompt, int(seed)


def write_reply(computed: Computed, previous_total_ms: float | None) -> bytes:
    """Return the reply; `previous_total_ms` is what the connection's last one took, sending included."""
    timing = computed.server_timing | ({} if previous_total_ms is None else {"prev_total_ms": previous_total_ms})
    return pack({"actions": computed.chunk.actions, "server_timing": timing})


def write_refusal(error: Error) -> str:
    """Return a refusal as text."""
    return json.dumps({"code": error.code, "message": error.message})


def _picture(name: str, image: Any) -> np.ndarray:
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[0] == 3 and image.shape[2] != 3:
        image = image.transpose(1, 2, 0)
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        allowed = "uint8 [height, width, 3]"
        raise RefusalError("bad_observation", f"image {name[:80]!r}", got=describe(image), allowed=allowed)
    return np.array(image, order="C")


def _state(state: Any) -> np.ndarray:
    numbers = isinstance(state, np.ndarray) and state.dtype.kind in "fiu" and state.ndim == 1
    if not (numbers and state.size <= MOST_STATE_ENTRIES and np.isfinite(np.float32(state)).all()):
        raise RefusalError("bad_observation", "state", got=describe(state), allowed="finite numbers [entries]")
    return state.astype(np.float32)
