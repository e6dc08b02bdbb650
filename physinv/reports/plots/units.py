"""Units at the labels of figures."""

from __future__ import annotations

__all__ = ["with_units"]

import re
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from physinv.processes.layout import StateLayout


def with_units(figure: Figure, layout: StateLayout, units: Mapping[str, str], components: Sequence[str] = ()) -> Figure:
    """Write units behind the names of channels and axes wherever these label something.

    Args:
        figure: The figure.
        layout: Layout of the states.
        units: Units by name of a channel, of a component of a vector, or of an axis.
        components: Names of the components of a vector, which take the place of ``x_1``, ``x_2``, ...

    Returns:
        The same figure.

    Example:
        >>> from physinv.processes.layout import FieldLayout
        >>> figure = Figure()
        >>> _ = figure.subplots().set(xlabel="$x$", ylabel="T")
        >>> figure = with_units(figure, FieldLayout("T", "x", [range(4)]), {"T": "K", "x": "m"})
        >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
        ('$x$ [m]', 'T [K]')
    """
    called = {f"$x_{{{i + 1}}}$": name for i, name in enumerate(components)}
    called |= {f"$x_{i + 1}$": name for i, name in enumerate(components)}
    alike = {units.get(name, "") for name in components}
    known = dict(units)
    if len(alike) == 1 and components:  # one unit of all components is that of the vector
        known.setdefault(layout.names[0], alike.pop())

    def told(text: str) -> str:
        name = called.get(text, text)
        unit = known.get(_plain(name), "")
        if unit:
            return f"{name} [{unit}]"
        for channel in (n for n in layout.names if known.get(n)):  # in a longer label, such as "observed T at T"
            if re.search(rf"^(observed )?{re.escape(channel)} (at|that) ", text):
                return f"{text} [{known[channel]}]"
        return name

    for ax in figure.axes:
        for label in (ax.xaxis.label, ax.yaxis.label, ax.title):  # their text alone: sizes stay those of the figure
            label.set_text(told(label.get_text()))
    for text in figure.texts:  # labels that panels share
        text.set_text(told(text.get_text()))
    return figure


def _plain(label: str) -> str:
    return label.strip("$")
