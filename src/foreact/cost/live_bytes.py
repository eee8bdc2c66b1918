"""The peak memory of a computation, found by running it on the meta device, where no number is ever computed."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """While active, counts bytes of tensors made within and still alive; what a kernel needs inside is not seen."""

    def __init__(self):
        super().__init__()
        self._known: set[int] = set()
        self.live = 0
        """Bytes alive now."""
        self.peak = 0
        """Most bytes alive at once so far."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and id(leaf.untyped_storage()) not in given:
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: Any) -> None:
        if id(storage) in self._known:
            return
        self._known.add(id(storage))
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, id(storage), storage.nbytes())

    def _drop(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.live -= num_bytes
