"""The law of a process in one dimension: the Fokker-Planck equation on a grid, forward and backward in time.

For ``dx = f(x, t) dt + g dW`` the density obeys ``dp/dt = -dJ/dx``, ``J = f p - D dp/dx``, ``D = g^2 / 2``, here with
walls (J = 0) at both ends.  Finite volumes: cell i has centre ``x_i``, width ``h_i`` and mass ``m_i = p_i h_i``.  The
flux through the face between the cells i and i + 1, at distance ``d = x_{i+1} - x_i``, is

    J = D/d [B(-w) p_i - B(w) p_{i+1}],    w = f d / D,    B(w) = w / (e^w - 1),

exact for constant J and f, so that the discrete equilibrium is Boltzmann's.  Masses obey ``dm/dt = A m``.  The columns
of the tridiagonal ``A`` sum to zero (mass is conserved), and ``v(x_0) = E[v(x_T) | x_0]`` obeys the transposed
equation: forward and backward solutions are dual on the grid, not only in the limit of small cells.

**The cell Peclet number is |w|.**  The scheme acts as if the diffusion were ``D (w/2) coth(w/2)``: ``D (1 + w^2/12)``
for ``|w| < 1`` (second order), but ``|f| d / 2``, first-order upwind, where ``|w| >> 1``: there a point mass spreads
numerically.  This is harmless where the flow contracts afterwards; elsewhere take narrower cells.  The cells need not
be equally wide: make them narrow where the density ends up.  Halving all widths shows how much of the error is left.

References:
    Scharfetter and Gummel (1969), Large-signal analysis of a silicon Read diode oscillator;
    Chang and Cooper (1970), A practical difference scheme for Fokker-Planck equations.
"""

from __future__ import annotations

__all__ = ["FokkerPlanck"]

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

if TYPE_CHECKING:  # half a second to import, and the grid of an equation is asked for without
    from scipy.sparse import csc_matrix

Array = NDArray[np.float64]
_Slope = Callable[[float, Array], Array]
_Jacobian = Callable[[float, Array], "csc_matrix"]


class FokkerPlanck:
    """The law of ``dx = f(x, t) dt + g dW`` between two walls.

    Time is integrated implicitly (BDF with adaptive order and step, so that a point mass gets its short first steps).

    Args:
        drift: ``f(x, t)``, from positions ``(points,)`` and a time to drifts ``(points,)``.
        noise: Noise amplitude ``g``, in units of the state per square root of time.
        edges: Increasing edges of the cells, at least 3; the walls are at both ends.
        rtol: Relative tolerance of the time integration.

    Attributes:
        centers: Centres of the cells, ``(cells,)``.
        widths: Widths of the cells, ``(cells,)``.
        faces: Positions of the inner faces, ``(cells - 1,)``.

    Raises:
        ValueError: If ``edges`` are not at least 3 increasing numbers, or ``noise`` is not positive and finite.

    Example:
        >>> solver = FokkerPlanck(lambda x, t: -x, noise=0.5, edges=np.linspace(-3, 3, 121))
        >>> density = solver.transition(np.array([1.0]), t1=1.0)[0]
        >>> round(float((solver.centers * density * solver.widths).sum()), 2)  # e^-1
        0.37
    """

    def __init__(
        self, drift: Callable[[Array, float], Array], noise: float, edges: Float[Array, " faces"], rtol: float = 1e-7
    ) -> None:
        edges = np.asarray(edges, dtype=np.float64)
        if edges.ndim != 1 or len(edges) < 3 or not np.all(np.diff(edges) > 0):
            raise ValueError(f"`edges` must be at least 3 increasing numbers, got shape {edges.shape}; try linspace.")
        if not (np.isfinite(noise) and noise > 0):
            raise ValueError(f"`noise` must be finite and > 0, got {noise}; without noise solve the ODE instead.")
        self.drift, self.noise, self.rtol = drift, noise, rtol
        self._diffusion = noise**2 / 2
        self.faces = edges[1:-1]
        self.widths = np.diff(edges)
        self.centers = (edges[1:] + edges[:-1]) / 2
        self._low, self._high = edges[0], edges[-1]

    def rates(self, t: float) -> tuple[Float[Array, " faces"], Float[Array, " faces"]]:
        """Return the jump rates through the inner faces.

        Args:
            t: Time.

        Returns:
            Rates from cell i up to i + 1, and from i + 1 down to i, ``(cells - 1,)`` each, per time.
        """
        distance = np.diff(self.centers)
        w = np.broadcast_to(self.drift(self.faces, t), self.faces.shape) * distance / self._diffusion
        speed = self._diffusion / distance
        return speed * _bernoulli(-w) / self.widths[:-1], speed * _bernoulli(w) / self.widths[1:]

    def generator(self, t: float) -> csc_matrix:
        """Return the matrix ``A`` of ``dm/dt = A m`` for the masses ``m`` of the cells.

        Args:
            t: Time.

        Returns:
            Sparse tridiagonal matrix ``(cells, cells)`` whose columns sum to zero.
        """
        from scipy.sparse import csc_matrix, diags

        up, down = self.rates(t)
        leave = np.append(up, 0.0) + np.append(0.0, down)
        return csc_matrix(diags([up, -leave, down], offsets=[-1, 0, 1]))

    def forward(self, density: Float[Array, "... cells"], t0: float, t1: float) -> Float[Array, "... cells"]:
        """Carry densities forward in time: Kolmogorov's forward equation.

        Args:
            density: Densities at ``t0`` in the cells.
            t0: Time of the given densities.
            t1: Time of the result, at least ``t0``.

        Returns:
            Densities at ``t1`` in the cells.

        Raises:
            ValueError: If the last axis is not that of the cells, ``t1 < t0``, or the time integration fails.
        """

        def slope(s: float, m: Array) -> Array:  # A m
            up, down = self.rates(t0 + s)
            return -np.diff(up * m[:-1] - down * m[1:], prepend=0.0, append=0.0)

        mass = np.asarray(density) * self.widths
        return self._solve(mass, t0, t1, slope, lambda s, m: self.generator(t0 + s)) / self.widths

    def backward(self, values: Float[Array, "... cells"], t0: float, t1: float) -> Float[Array, "... cells"]:
        """Return the expected value of a function of the later state: Kolmogorov's backward equation.

        Args:
            values: ``v`` at the cells.
            t0: Time of the state that is given.
            t1: Time of the state that ``v`` is a function of, at least ``t0``.

        Returns:
            ``E[v(x(t1)) | x(t0) = x]`` at the cells.

        Raises:
            ValueError: If the last axis is not that of the cells, ``t1 < t0``, or the time integration fails.
        """

        def slope(s: float, v: Array) -> Array:  # A^T v
            up, down = self.rates(t1 - s)
            rise = np.diff(v)
            climb: Array = np.append(up * rise, 0.0) - np.append(0.0, down * rise)
            return climb

        return self._solve(np.asarray(values), t0, t1, slope, lambda s, v: self.generator(t1 - s).T.tocsc())

    def transition(self, x0: Float[Array, " points"], t1: float, t0: float = 0.0) -> Float[Array, "points cells"]:
        """Return the transition densities ``p(x, t1 | x0, t0)`` from given positions.

        A point mass is shared between the two nearest cells such that its mean is exact (its variance is at most
        ``d^2 / 4``).

        Args:
            x0: Positions at ``t0``.
            t1: Time of the densities.
            t0: Time of the positions.

        Returns:
            One density for each position.

        Raises:
            ValueError: If a position lies outside the grid.
        """
        return self.forward(self._weights("x0", x0) / self.widths, t0, t1)

    def posterior(
        self,
        prior: tuple[Float[Array, " atoms"], Float[Array, " atoms"]] | Float[Array, " cells"],
        final: Float[Array, " batch"],
        t1: float,
        t0: float = 0.0,
    ) -> Float[Array, "batch _"]:
        """Return the posterior ``p(x0 | x(t1))`` by Bayes' rule with the solver's transition density.

        Between cell centres the likelihood ``p(x(t1) | x0)`` is linear in ``x(t1)``.

        Args:
            prior: Point masses ``(locations, weights)``, which take one forward solution for each of them, or a density
                ``(cells,)``, which takes one backward solution for each final state.
            final: Observed states at ``t1``.
            t1: Time of the final states.
            t0: Time of the prior.

        Returns:
            One row for each final state: probabilities of the point masses, or densities in the cells.

        Raises:
            ValueError: If a final state lies outside the grid, or has no probability under the prior that the tolerance
                of the time integration resolves.
        """
        at = self._weights("final", final)
        if isinstance(prior, tuple):
            density, weights = self.transition(prior[0], t1, t0), np.asarray(prior[1])
            likelihood, peak = at @ density.T, density.max()
        else:
            likelihood, weights = self.backward(at / self.widths, t0, t1), np.asarray(prior)
            peak = likelihood.max(axis=1, keepdims=True)
        measure = 1.0 if isinstance(prior, tuple) else self.widths
        joint = np.maximum(likelihood, 0.0) * weights
        evidence = (joint * measure).sum(axis=1, keepdims=True)
        if not np.all(evidence > 1e-3 * self.rtol * peak * (weights * measure).sum()):
            raise ValueError(
                "`final` must have a resolvable probability under the prior, got about 0; check its units."
            )
        posterior: Array = joint / evidence
        return posterior

    def _weights(self, name: str, x: Array) -> Array:
        """Linear interpolation from the cell centres to points ``x``, as a matrix ``(points, cells)``."""
        x = np.atleast_1d(np.asarray(x, dtype=np.float64))
        if not np.all((x >= self._low) & (x <= self._high)):
            raise ValueError(f"`{name}` must be inside the grid [{self._low}, {self._high}], got {x}; widen `edges`.")
        right = np.clip(np.searchsorted(self.centers, x), 1, len(self.centers) - 1)
        share = np.clip((x - self.centers[right - 1]) / (self.centers[right] - self.centers[right - 1]), 0.0, 1.0)
        weights = np.zeros((len(x), len(self.centers)))
        rows = np.arange(len(x))
        weights[rows, right - 1], weights[rows, right] = 1 - share, share
        return weights

    def _solve(self, y: Array, t0: float, t1: float, slope: _Slope, jacobian: _Jacobian) -> Array:
        """``dy/ds = slope(s, y)`` over ``0 <= s <= t1 - t0``, for each row of ``y`` ``(..., cells)``."""
        if y.shape[-1:] != self.centers.shape:
            raise ValueError(f"`density` or `values` must end in the {len(self.centers)} cells, got shape {y.shape}.")
        if not t1 >= t0:
            raise ValueError(f"`t1` must be at least `t0` = {t0} (for `backward` too), got {t1}.")
        rows = [self._row(row, t1 - t0, slope, jacobian) for row in y.reshape(-1, y.shape[-1])]
        return np.stack(rows).reshape(y.shape)

    def _row(self, y: Array, span: float, slope: _Slope, jacobian: _Jacobian) -> Array:
        """Integrate one row, scaled to a maximum of 1, so that the absolute tolerance has a meaning."""
        from scipy.integrate import solve_ivp

        scale = np.abs(y).max()
        if span == 0 or scale == 0:
            return y.astype(np.float64)
        tolerance = {"rtol": self.rtol, "atol": 1e-3 * self.rtol}
        solution = solve_ivp(slope, (0.0, span), y / scale, "BDF", t_eval=[span], jac=jacobian, **tolerance)
        if not solution.success:
            raise ValueError(f"`drift` must be integrable over a time of {span}, but BDF says: {solution.message}")
        result: Array = scale * solution.y[:, -1]
        return result


def _bernoulli(w: Array) -> Array:
    """``w / (e^w - 1)``, with limit 1 at w = 0."""
    small = np.abs(w) < 1e-8
    safe = np.where(small, 1.0, np.clip(w, -700.0, 700.0))
    return np.asarray(np.where(small, 1 - w / 2, np.where(w < -700.0, -w, safe / np.expm1(safe))))
