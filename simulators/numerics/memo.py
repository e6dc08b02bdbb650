"""Keep small results that are expensive to compute, such as the coefficients of a solver step, in limited memory."""

from __future__ import annotations

__all__ = ["Memo"]

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

_Tensors = TypeVar("_Tensors", bound=Sequence[Tensor])


class Memo(Generic[_Tensors]):
    """Keep sequences of tensors by a key, and remove the least recently used ones beyond a number of bytes.

    Tensors with a graph, and those of ``torch.inference_mode``, are returned and not kept: each use needs its own.

    Args:
        most: Bytes of all that is kept.

    Example:
        >>> import torch
        >>> memo = Memo(most=1000)
        >>> a, b = (memo("one", lambda: [torch.ones(3)]) for _ in range(2))
        >>> a is b
        True
    """

    def __init__(self, most: int) -> None:
        self._most, self._kept, self._bytes = most, OrderedDict[Hashable, _Tensors](), 0

    def __getstate__(self) -> dict[str, object]:
        return {"_most": self._most, "_kept": OrderedDict(), "_bytes": 0}  # copies compute their results again

    def __call__(self, key: Hashable, compute: Callable[[], _Tensors]) -> _Tensors:
        """Return the result of a key, computed at the first call.

        Args:
            key: What the result depends on.
            compute: Computes it.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = compute()
        if any(x.requires_grad or x.is_inference() for x in found) or _bytes(found) > self._most:
            return found
        self._kept[key] = found
        self._bytes += _bytes(found)
        while self._bytes > self._most:
            self._bytes -= _bytes(self._kept.popitem(last=False)[1])
        return found


def _bytes(tensors: Sequence[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)
