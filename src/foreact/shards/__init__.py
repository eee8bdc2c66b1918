"""A network's tensors on disk, in Hugging Face's layout: one safetensors file, or shards and an index.

Reading and writing keep one tensor, or one shard, in memory: a network larger than the memory passes through.
"""

from foreact.shards.loading import check_sizes, check_tensors, load_strictly
from foreact.shards.reading import TensorFolder
from foreact.shards.writing import ShardWriter

__all__ = ["ShardWriter", "TensorFolder", "check_sizes", "check_tensors", "load_strictly"]
