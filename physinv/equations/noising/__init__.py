"""Noising processes of diffusion models: linear SDEs that turn any data into noise, with schedules of their rates.

Three families (Song et al. 2021, appendix B) on any schedule ``beta(t)``, with ``B(t0, t1) = int beta dt``:

===============  ================================================  ==============  ===========================
process          equation                                          gain from 0     variance from 0
===============  ================================================  ==============  ===========================
``VE``           ``dx = beta^(1/2) dW``                            1               ``B``
``VP``           ``dx = -beta/2 x dt + beta^(1/2) dW``             ``e^(-B/2)``    ``1 - e^(-B)``
``SubVP``        the same drift, ``g^2 = beta (1 - e^(-2 B))``     ``e^(-B/2)``    ``(1 - e^(-B))^2``
===============  ================================================  ==============  ===========================

They are :class:`~physinv.equations.sde.Linear` like the heat equation: its exponential and transport steps, denoising
loss, likelihood and corrector serve them as they are.  Data should have mean 0 and variance 1.

DDPM is ``VP(chain(betas))`` on the times ``grid(N)``, SMLD ``VE(levels(sigmas))``: :mod:`.chains`.
"""

from physinv.equations.noising.chains import chain, cosine_betas, geometric_levels, grid, levels, linear_betas
from physinv.equations.noising.processes import VE, VP, Noising, RotatedVP, SubVP
from physinv.equations.noising.schedules import Cosine, Geometric, LinearRate, Schedule, Table

__all__ = [
    "VE",
    "VP",
    "Cosine",
    "Geometric",
    "Noising",
    "RotatedVP",
    "Schedule",
    "SubVP",
    "Table",
    "LinearRate",
    "chain",
    "cosine_betas",
    "geometric_levels",
    "grid",
    "levels",
    "linear_betas",
]


def __dir__() -> list[str]:
    """List the public names, for completion in notebooks."""
    return sorted(__all__)
