"""Start torchrun on every machine of a Ray cluster, and do nothing else.

    python examples/cluster/ray_torchrun.py --nodes 2 --gpus 8 -- train --recipe wan5b-post --device cuda ...

What stands after the dashes are the words of the `foreact` command. Needs Ray (`pip install "foreact[ray]"`).
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

PORT = 29500
"""Where the processes meet on the first machine."""


def torchrun_words(foreact: Sequence[str], *, nodes: int, node: int, gpus: int, address: str) -> list[str]:
    """Return the command of one machine.

    Args:
        foreact: Words of the `foreact` command.
        nodes: How many machines there are.
        node: Which one this is.
        gpus: On each, a process for each.
        address: Of the first machine.
    """
    how = ["--nnodes", str(nodes), "--node-rank", str(node), "--nproc-per-node", str(gpus)]
    where = ["--master-addr", address, "--master-port", str(PORT)]
    return [sys.executable, "-m", "torch.distributed.run", *how, *where, "-m", "foreact", *foreact]


def main() -> None:
    """Start torchrun on every machine, and wait for all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--gpus", type=int, required=True, help="on each machine")
    parser.add_argument("foreact", nargs="+", help="words of the foreact command, after --")
    given = parser.parse_args()

    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    ray.init()
    # A bundle is a machine: all of its GPUs, and no two bundles on one machine.
    group = placement_group([{"GPU": given.gpus, "CPU": 1}] * given.nodes, strategy="STRICT_SPREAD")
    ray.get(group.ready())

    def on(node: int, function):
        place = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=node)
        return ray.remote(function).options(num_gpus=given.gpus, num_cpus=1, scheduling_strategy=place)

    address = ray.get(on(0, ray.util.get_node_ip_address).remote())
    words = [
        torchrun_words(given.foreact, nodes=given.nodes, node=node, gpus=given.gpus, address=address)
        for node in range(given.nodes)
    ]
    running = [on(node, subprocess.run).remote(command, check=True) for node, command in enumerate(words)]
    ray.get(running)


if __name__ == "__main__":
    main()
