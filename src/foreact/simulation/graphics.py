"""OpenGL without a screen: which backend MuJoCo shall use, decided before MuJoCo is first imported."""

import ctypes
import os
import sys

INSTALL_LINE = "apt-get install -y --no-install-recommends libosmesa6 libegl1 libegl-mesa0 libgl1-mesa-dri"
"""What installs software rendering on Debian and Ubuntu."""


def choose_backend() -> str | None:
    """Set MuJoCo's environment variables where the user has not, and return the backend chosen.

    EGL first, OSMesa where EGL has no device, otherwise none: physics still runs, pictures raise
    SimulationError. Mesa renders in the calling thread, which is fastest with one process a core.
    """
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if not sys.platform.startswith("linux"):
        return os.environ.get("MUJOCO_GL")
    if "MUJOCO_GL" not in os.environ:
        os.environ["MUJOCO_GL"] = first_working_backend()
    return os.environ["MUJOCO_GL"]


def first_working_backend() -> str:
    """The first of "egl" and "osmesa" this machine can use, or "disable"."""
    if num_egl_devices() > 0:
        return "egl"
    return "osmesa" if library("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so") else "disable"


def num_egl_devices() -> int:
    """How many devices EGL offers for rendering without a screen; 0 without EGL."""
    egl = library("libEGL.so.1", "libEGL.so")
    if egl is None:
        return 0
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not address:
        return 0
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int))(address)
    found = ctypes.c_int(0)
    return found.value if query(0, None, ctypes.byref(found)) else 0


def library(*names: str) -> ctypes.CDLL | None:
    """The first of the shared libraries that loads, or None."""
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None
