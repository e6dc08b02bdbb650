"""What an update of the U-Net costs with our periodic padding and with torch's.

python benchmarks/speed/wrapping.py    milliseconds of CPU time per update (forward and backward), and their ratio

The same network with the same weights on the same fields, the two in turn; medians.  Torch's padding, by
``torch.nn.functional.pad(x, ..., mode="circular")``, gives the same numbers.  Figures go to results/wrapping.json.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import timing_arguments, update_milliseconds, write

from physinv.models.networks import UNet
from physinv.models.networks.layers import wrap

CASES = {"1-D": (128, 64), "2-D": (8, 64), "3-D": (2, 16)}  # fields per update, points per axis


def circular(x: Tensor) -> Tensor:
    return functional.pad(x, [1, 1] * (x.ndim - 2), mode="circular")


def milliseconds(net: UNet, around: Callable[[Tensor], Tensor], x: Tensor, t: Tensor) -> float:
    """CPU time of one update with this padding."""
    for module in net.modules():
        if hasattr(module, "around"):
            module.around = around
    return update_milliseconds(net, x, t)


def main() -> None:
    args = timing_arguments(__doc__)
    figures: dict[str, list[float]] = {}
    for dimension, (name, (batch, n)) in enumerate(CASES.items(), 1):
        generator = torch.Generator().manual_seed(0)
        net = UNet(3, 2, dimension=dimension, width=16)
        torch.nn.init.normal_(net.last.weight, generator=generator)
        x, t = torch.randn(batch, 3, *[n] * dimension, generator=generator), torch.rand(batch, generator=generator)
        pairs = [[milliseconds(net, f, x, t) for f in (wrap, circular)] for _ in range(args.repetitions + 3)][3:]
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        figures |= {f"{name}: ours": [ours], f"{name}: torch's": [theirs], f"{name}: times faster": [ratio]}
        print(f"{name}, {batch} fields: {ours:.1f} ms with ours, {theirs:.1f} with torch's: {ratio:.2f} x", flush=True)
    write(args.out / "wrapping.json", {"benchmark": "wrapping"}, figures)


if __name__ == "__main__":
    main()
