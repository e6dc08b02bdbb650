"""Draw one reconstruction of every system: fields in the plane, fields on a line, particles.

python benchmarks/gallery.py    results/systems/planes.png, lines.png, from results/systems/examples (see systems.py)
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from common import ROOT
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from physinv.comparison.examples import Example, read_examples
from physinv.reports import plots as plot
from physinv.reports.plots.pictures.particles import draw_particles
from physinv.reports.plots.style import BLUE, SEEN, SPREAD, TRUTH, angles, array, colour_scale, draw_image, house_style


@house_style()
def planes(found: Mapping[str, Example]) -> Figure:
    """Rows of images, in two blocks: what was seen, two samples, the deviation of all samples, what was."""
    heads = ["observation $x_T$", "sample", "another", "std. deviation", "truth $x_0$"]
    rows = -(-len(found) // 2)
    figure = Figure((9.6, 0.9 * rows + 0.3), layout="compressed")
    grid = figure.add_gridspec(rows, 11, width_ratios=[*[1.0] * 5, 0.35, *[1.0] * 5])
    for k, (name, example) in enumerate(found.items()):
        block, row = divmod(k, rows)
        truth, seen, draws = array(example.truth[0, 0]), array(example.final[0, 0]), array(example.samples[0, :, 0])
        spread, states = draws.std(0, ddof=1), colour_scale(np.stack([truth, seen]))
        for j, image in enumerate((seen, draws[0], draws[1], spread, truth)):
            ax = figure.add_subplot(grid[row, 6 * block + j])
            draw_image(ax, image, *((SPREAD, Normalize(0, spread.max())) if j == 3 else states))
            if "obstacle" in example.layout.names:
                solid = array(example.truth[0, example.layout.names.index("obstacle")])
                ax.contourf(solid.T, levels=[0.5, 1.5], colors=["0.6"])
            if row == 0:
                ax.set_title(heads[j], fontsize=8)
            if j == 0:
                ax.set_ylabel(name.replace("-", "\n", 1) if len(name) > 12 else name, fontsize=8)
    return figure


@house_style()
def lines(found: Mapping[str, Example]) -> Figure:
    """Profiles over the central 50 and 90 % of the samples; of particles, what was seen, one sample, what was."""
    fields = {name: e for name, e in found.items() if e.layout.space}
    clouds = {name: e for name, e in found.items() if not e.layout.space}
    rows = -(-len(fields) // 3)
    figure = Figure((9.6, 1.7 * rows + 2.0), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.7 * rows, 1.9])
    for ax, (name, example) in zip(top.subplots(rows, 3, squeeze=False).flat, fields.items(), strict=False):
        x, draws = np.array(example.layout.coordinates[0]), array(example.samples[0, :, 0])
        q = np.quantile(draws, (0.05, 0.25, 0.5, 0.75, 0.95), axis=0)
        ax.fill_between(x, q[0], q[4], color=BLUE, alpha=0.2, lw=0, label="90 % of samples")
        ax.fill_between(x, q[1], q[3], color=BLUE, alpha=0.35, lw=0, label="50 %")
        ax.plot(x, q[2], color=BLUE, label="median")
        ax.plot(x, array(example.truth[0, 0]), **{**TRUTH, "lw": 1.0})
        ax.plot(x, array(example.final[0, 0]), **SEEN)
        ax.set(xlim=(x[0], x[-1]), ylabel=example.layout.names[0], title=name)
        angles(ax.xaxis, example.layout)
    for unused in top.axes[len(fields) :]:
        unused.remove()
    top.legend(*top.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    parts = bottom.subfigures(1, len(clouds), squeeze=False).flat
    for part, (name, example) in zip(parts, clouds.items(), strict=True):
        part.suptitle(name, fontsize=9)
        states = [array(x) for x in (example.final[0], example.samples[0, 0], example.truth[0])]
        reach = 1.08 * max(np.abs(s[:, :2]).max() for s in states)
        heads = ("observation $x_T$", "sample", "truth $x_0$")
        for ax, state, head in zip(part.subplots(1, 3), states, heads, strict=True):
            ax.spines[:].set_visible(True)
            draw_particles(ax, state, example.layout)
            ax.set(aspect="equal", xticks=[], yticks=[], xlim=(-reach, reach), ylim=(-reach, reach), title=head)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = ROOT / "benchmarks" / "results" / "systems"
    parser.add_argument("--folder", type=Path, default=folder, help="holds examples/, takes the figures")
    folder = parser.parse_args().folder
    found = dict(sorted(read_examples(folder).items()))
    flat = {name: e for name, e in found.items() if len(e.layout.space) == 2}
    rest = {name: e for name, e in found.items() if len(e.layout.shape) > 1 and name not in flat}
    plot.save(planes(flat), folder / "planes.png")
    plot.save(lines(rest), folder / "lines.png")


if __name__ == "__main__":
    main()
