"""Robot <-> model units: actions, cameras, rates and normalisation; a robot is a data file.

**To add a robot**, copy the nearest file in `robots/` and change what differs
(`foreact.embodiments.arms.Arm`, `cameras.CameraLayout` and `timing.Timing` tell the meaning and unit of every
setting; unknown ones are errors):

- `dofs`: the entries of the robot's own action vector, in order, with their safe range;
- `state_names`: the entries of its state vector, only if they are not the same;
- `[[arms]]`: per arm, which entries are joints or a pose, how they are meant (absolute, delta, relative), and
  the gripper with the values that mean open and closed;
- `channels`: instead of arms, for published weights that were trained on raw numbers: where each entry goes;
- `[layout]`: which cameras, how large, how they share the latent picture;
- `[timing]`: the action rate, and how many actions pass per camera frame.

Then `load_embodiment("my_robot.toml")` checks it: every entry must go somewhere, and every number comes back
exactly from `from_universal(to_universal(actions))`. Files in `robots/` are found by name.
"""

from foreact.embodiments.actions import CHANNEL_NAMES, END_EFFECTOR, GRIPPER, JOINTS, NUM_CHANNELS
from foreact.embodiments.arms import Arm
from foreact.embodiments.cameras import CameraLayout
from foreact.embodiments.codec import ActionCodec
from foreact.embodiments.embodiment import Dof, Embodiment, embodiment_names, load_embodiment
from foreact.embodiments.grippers import Gripper
from foreact.embodiments.normalization import QuantileNormalizer
from foreact.embodiments.timing import Timing

__all__ = [
    "CHANNEL_NAMES",
    "END_EFFECTOR",
    "GRIPPER",
    "JOINTS",
    "NUM_CHANNELS",
    "ActionCodec",
    "Arm",
    "CameraLayout",
    "Dof",
    "Embodiment",
    "Gripper",
    "QuantileNormalizer",
    "Timing",
    "embodiment_names",
    "load_embodiment",
]
