"""The phi functions of exponential integrators."""

from __future__ import annotations

__all__ = ["phi"]

import math

import torch
from torch import Tensor


def phi(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``phi_1 = (e^z - 1)/z``, ``phi_2 = (phi_1 - 1)/z`` and ``phi_3 = (phi_2 - 1/2)/z``, elementwise.

    Below ``|z| = 1``, where the quotients cancel, by the series ``phi_3 = sum z^j / (j + 3)!``: accurate to a few units
    of rounding everywhere, without the contour integrals of Kassam and Trefethen (2005), and differentiable.

    Args:
        z: Real or complex numbers.
    """
    small = z.abs() < 1
    near, far = torch.where(small, z, torch.zeros_like(z)), torch.where(small, torch.ones_like(z), z)
    three = torch.zeros_like(z)
    for j in reversed(range(16)):
        three = three * near + 1 / math.factorial(j + 3)
    two = 0.5 + near * three
    f1 = torch.expm1(far) / far
    f2 = (f1 - 1) / far
    f3 = (f2 - 0.5) / far
    return torch.where(small, 1 + near * two, f1), torch.where(small, two, f2), torch.where(small, three, f3)
