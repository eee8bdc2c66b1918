"""Write the example picture and state: how an episode of `lift_cube` begins that no policy was trained on."""

import json
from pathlib import Path

from PIL import Image

from foreact.embodiments import load_embodiment
from foreact.simulation.environment import BimanualEnv

SEED = 1_000_003

folder = Path(__file__).parent
env = BimanualEnv("lift_cube", cameras=("top",))
env.reset(seed=SEED)
Image.fromarray(env.images()["top"]).save(folder / "lift_cube_top.png", optimize=True)
names = load_embodiment("aloha").dof_names
state = {name: round(float(value), 4) for name, value in zip(names, env.state(), strict=True)}
(folder / "lift_cube_state.json").write_text(json.dumps(state, indent=1) + "\n")
env.close()
