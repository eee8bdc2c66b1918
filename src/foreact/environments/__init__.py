"""Simulated worlds by name, ours and other people's, behind one protocol.

Importing it chooses the OpenGL backend, as `foreact.simulation` does.
"""

from foreact.environments.check import check_world, make_world
from foreact.environments.environment import Environment
from foreact.environments.registry import find, make_environment, protocol_of, suite_names

__all__ = ["Environment", "check_world", "find", "make_environment", "make_world", "protocol_of", "suite_names"]
