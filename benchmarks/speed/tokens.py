"""What an update of the token network costs beside one of the U-Net, and what orthogonal steps add.

python benchmarks/speed/tokens.py    milliseconds of CPU time per update (forward and backward), and their ratio

Both networks as they are built by default, on the same fields, the two in turn; medians.  Figures go to
results/tokens.json.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # benchmarks/ is no package
from common import timing_arguments, update_milliseconds, write

from physinv.models.networks import TokenNet, UNet
from physinv.training.muon import hidden_matrices, orthogonalised

CASES = {"1-D": (32, 96), "2-D": (16, 32), "3-D": (2, 16)}  # fields per update, points per axis


def steps(net: nn.Module) -> float:
    """CPU time of orthogonal steps for all hidden matrices, alike ones at once."""
    shapes: dict[torch.Size, list[torch.Tensor]] = {}
    for matrix in hidden_matrices(net):
        shapes.setdefault(matrix.shape, []).append(matrix.detach())
    begun = time.process_time()
    for alike in shapes.values():
        orthogonalised(torch.stack(alike))
    return 1e3 * (time.process_time() - begun)


def main() -> None:
    args = timing_arguments(__doc__)
    figures: dict[str, list[float]] = {}
    for dimension, (name, (batch, n)) in enumerate(CASES.items(), 1):
        generator = torch.Generator().manual_seed(0)
        tokens = TokenNet(6, 2, periodic=[True] * dimension)
        unet = UNet(6, 2, dimension=dimension, width=16)
        x, t = torch.randn(batch, 6, *[n] * dimension, generator=generator), torch.rand(batch, generator=generator)
        rows = [
            (update_milliseconds(tokens, x, t), update_milliseconds(unet, x, t), steps(tokens))
            for _ in range(args.repetitions + 3)
        ][3:]
        ours, theirs, orthogonal = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = statistics.median(row[1] / row[0] for row in rows)
        figures |= {f"{name}: tokens": [ours], f"{name}: U-Net": [theirs], f"{name}: times faster": [ratio]}
        figures |= {f"{name}: orthogonal steps": [orthogonal]}
        print(
            f"{name}, {batch} fields: {ours:.1f} ms with tokens, {theirs:.1f} with the U-Net: {ratio:.2f} x; "
            f"orthogonal steps {orthogonal:.1f} ms",
            flush=True,
        )
    write(args.out / "tokens.json", {"benchmark": "tokens"}, figures)


if __name__ == "__main__":
    main()
