"""What the densities of a posterior say of it: rows of the table of metrics, and sentences."""

from __future__ import annotations

__all__ = ["Stated", "certificate_rows", "certificate_sentences"]

from collections.abc import Mapping
from typing import Any, NamedTuple

from physinv.laws.exact import Density
from physinv.posterior.reconstruction import Reconstruction


class Stated(NamedTuple):
    """A figure that was computed with the samples.

    Attributes:
        name: Name of the metric.
        value: Its value.
        exact: Its value for the exact posterior; None where that is not known.
        best: The best value: ``"low"``, ``"high"``, or a number as text.
        about: What it measures, in one line.
    """

    name: str
    value: float
    exact: float | None
    best: str
    about: str


def certificate_rows(recon: Reconstruction) -> list[Stated]:
    """List the log density of the truth and the width of the bracket, as far as they were computed.

    Args:
        recon: The reconstruction, with true states.

    Returns:
        One figure for each row of the table.
    """
    found, rows = recon.info.get("certificate") or {}, list[Stated]()
    if (value := found.get("log_prob")) is not None:
        about = f"log density of the first {found['truths']} truths, nats per number{_doubt(found, 'log_prob_error')}"
        rows.append(Stated("log_prob", value, _exact(recon, found["truths"], found["numbers"]), "high", about))
    if (width := found.get("width_per_number")) is not None:
        about = "width of the bracket of log p(x_T), nats per number: 0 for exact posteriors alone"
        rows.append(Stated("bracket_width", width, 0.0, "0", about))
    return rows


def certificate_sentences(info: Mapping[str, Any]) -> list[str]:
    """Return what the bracket means for these samples, and what has no density.

    Args:
        info: The description of a reconstruction.

    Returns:
        Sentences; none where nothing was computed.
    """
    found = info.get("certificate") or {}
    said: list[str] = list(found.get("told", []))
    if (width := found.get("width")) is None:
        return said
    sentence = (
        f"Bracket: log p(x_T) of {found['truths']} trajectories lies between {found['lower']:.5g} and "
        f"{found['upper']:.5g} nats on average. The width, {width:.3g}{_doubt(found, 'width_error')} nats "
        f"({found['width_per_number']:.2g} per number), is how far this posterior is from exact: the divergence "
        "between its paths and true ones, both ways added up; that of x_0 alone is at most as much."
    )
    return [*said, sentence]


def _exact(recon: Reconstruction, n: int, numbers: int) -> float | None:
    """The log density of the first truths under the exact posterior, per number."""
    exact = recon.simulator.exact()
    if recon.operator is not None or not isinstance(exact, Density):
        return None
    return float(exact.log_prob(recon.known_truth[:n].double(), recon.observation[:n].double()).mean() / numbers)


def _doubt(found: Mapping[str, Any], name: str) -> str:
    """The standard error of a figure, where it is known."""
    return "" if found.get(name) is None else f" +- {found[name]:.2g}"
