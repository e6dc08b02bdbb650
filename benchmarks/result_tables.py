"""The tables of single benchmarks: one function each, from a record in benchmarks/results to a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import told

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BAR = "\\|"  # a bar that does not end the cell
Result = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A title, what was computed where, and the table with what has to be said about it."""

    title: str
    made: str
    body: str

    def section(self) -> str:
        """As a section of a page."""
        return "\n\n".join(filter(None, (f"## {self.title}", self.made and f"*{self.made}*", self.body)))


def read(name: str) -> Result | None:
    """The results of a benchmark; None if it has not been run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def table(result: Result, title: str, columns: list[str], rows: dict[str, list[str]], note: str = "") -> Table:
    """A title, and what tells seconds, hardware, seeds and versions; ``rows``: label -> keys of figures (or text)."""
    f, v = result["figures"], result["versions"]
    trained = f"{result['budget_seconds']:g} s of training on " if "budget_seconds" in result else ""
    repeated = f"seeds {', '.join(map(str, result['seeds']))}" if "seeds" in result else "several repetitions"
    made = f"{trained}{result['device']}: {result['hardware']}; {repeated}; physinv {v['physinv']}, torch {v['torch']}"
    lines = [f"| {' | '.join(['', *columns])} |", "|" + "---|" * (len(columns) + 1)]
    for label, keys in rows.items():
        cells = [label, *(told(f[k]) if k in f else k for k in keys)]
        lines.append(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |")
    return Table(title, made, "\n".join(lines) + (f"\n\n{note}" if note else ""))


def heat(result: Result) -> Table:
    names = [k.removeprefix("32 steps: ") for k in result["figures"] if k.startswith("32 steps: ")]
    rows = {}
    for name in names:
        exact = f"{name}, exact"
        ideal = {"variance": "1 +- .03 (64 exact draws)", "largest": "0 +- .03", "seconds": ""}.get(name.split()[0], "")
        best = [exact] if exact in result["figures"] else [ideal]
        rows[name] = [f"{steps} steps: {name}" for steps in (8, 32, 64)] + best
    title = "Heat, 32 x 32, Gaussian random field: `sde` and `flow` at 8, 32 and 64 steps"
    return table(result, title, ["8 steps", "32 steps", "64 steps", "exact posterior"], rows)


def edges(result: Result) -> Table:
    names = [k.removeprefix("physinv: ") for k in result["figures"] if k.startswith("physinv: ")]
    rows = {n: [f"physinv: {n}", f"Gaussian: {n}"] for n in names}
    return table(result, "Heat, 32 x 32, sharp edges: `sde`", ["physinv", "Gaussian posterior (Wiener)"], rows)


PUBLISHED = {  # Holzschuh et al. 2023, fig. 2
    "1-step": {"flow": (".78", ".44", ".41"), "sde": (".93", ".71", ".75")},
    "multi-step": {"flow": (".97", ".91", ".81"), "sde": (".99", ".94", ".85")},
}


def quadratic(result: Result) -> Table:
    rows = {}
    for loss, methods in PUBLISHED.items():
        for method, published in methods.items():
            for within in (10, 1):
                keys = [f"{n} trajectories, {loss}: Q {method}, hits within {within} %" for n in (2500, 250, 25)]
                rows[f"{loss}, `{method}`, within {within} %"] = keys
            rows[f"{loss}, `{method}`, published (10 %)"] = list(published)
    columns = ["2500 trajectories", "250", "25"]
    note = "A fair coin for each start gives .975: a value above (the published .99) is luck, or not calibrated."
    return table(result, "Quadratic process: Q (exact: flow 1, sde .975 +- .019 a draw)", columns, rows, note)


def calibration(result: Result) -> Table:
    rows = {}
    for key in result["figures"]:
        if key.endswith(", physinv"):
            rows[key.removesuffix(", physinv")] = [key, key.replace(", physinv", ", exact")]
        elif "P(x_0" in key:
            rows[key] = [key, "0"]
    return table(result, "Calibration against Fokker-Planck, 2500 trajectories", ["physinv", "exact posterior"], rows)


def ornstein(result: Result) -> Table:
    kinds = ("mixture reference", "Gaussian reference")
    rows = {k: [f"{k}: C2ST, mean of 10 observations", f"{k}: exact against exact"] for k in kinds}
    title = "Ornstein-Uhlenbeck, three Gaussians in four dimensions: C2ST (.5 is perfect)"
    return table(result, title, ["physinv", "exact against exact"], rows)


def partial(result: Result) -> Table:
    ways = [k.removesuffix(": spread over skill") for k in result["figures"] if k.endswith(": spread over skill")]
    names = ["CRPS, 16 samples", "CRPS over exact", "spread over skill", "coverage of 90 %", "seconds per observation"]
    rows = {w: [f"{w}: {n}" if f"{w}: {n}" in result["figures"] else "1" for n in names] for w in ways}
    return table(result, "Heat, a quarter of the pixels observed with noise .05", names, rows)


def navier(result: Result) -> Table:
    names = ["CRPS", "relative L2 of the mean", "spread over skill", "coverage of 90 %", "seconds per observation"]
    seen = [k.removesuffix(": CRPS") for k in result["figures"] if k.endswith(": CRPS")]
    title = "Navier-Stokes 64 x 64, some points of x_T seen with noise .1 (rms of x_T 4.7)"
    note = "Draws of x_T from a Gaussian law, without the guard that `reconstruct` has had since; see the table below."
    return table(result, title, names, {row: [f"{row}: {n}" for n in names] for row in seen}, note)


def sensors(system: str) -> Any:
    """Rows of points of x_T that are seen."""

    def make(result: Result) -> Table:
        names = ["CRPS", "relative L2 of the mean", "spread over skill", "coverage of 90 %", "seconds per observation"]
        rows = [k.removesuffix(": CRPS") for k in result["figures"] if k.endswith(": CRPS")]
        title = f"{system}, some points of x_T seen with noise .1"
        note = "Two stages: a run of whole final states, which are drawn from a Gaussian law given the points."
        return table(result, title, names, {row: [f"{row}: {n}" for n in names] for row in rows}, note)

    return make


def grouped(title: str, prefix: str) -> Any:
    """The figures called ``prefix, row: column``."""

    def make(result: Result) -> Table:
        keys = [k for k in result["figures"] if k.startswith(f"{prefix}, ")]
        columns = list(dict.fromkeys(k.rpartition(": ")[2] for k in keys))
        labels = dict.fromkeys(k.removeprefix(f"{prefix}, ").rpartition(": ")[0] for k in keys)
        rows = {row: [f"{prefix}, {row}: {c}" for c in columns] for row in labels}
        return table(result, f"{title}: {prefix}", columns, rows)

    return make


def unknown(result: Result) -> Table:
    """Scores of parameters that were unknown, beside those of the exact joint posterior, or of converged chains."""
    f, aside = result["figures"], (", exact", ", ratio", ", error of the ratio")

    def ratio(key: str) -> str:
        if f"{key}, ratio" in f:
            return f"{f[f'{key}, ratio'][0]:.3f} +- {f[f'{key}, error of the ratio'][0]:.3f}"
        if f"{key}, exact" not in f or not ("crps" in key or "energy" in key):
            return "–"
        return told([a / b for a, b in zip(f[key], f[f"{key}, exact"], strict=True)])

    keys = [k for k in f if not k.endswith(aside)]
    rows = {k: [k, f"{k}, exact" if f"{k}, exact" in f else "–", ratio(k)] for k in keys}
    made = [
        f"{name} {m['updates']} updates, {m['observations']} observations, seeds {', '.join(map(str, m['seeds']))}"
        for name, m in result["made"].items()
    ]
    note = (
        f"Training and test: {'; '.join(made)}. Beside `mcmc`: observations of the first seed whose chains have "
        "converged, scores of the chains in the place of exact ones, and the standard error of the ratio from paired "
        "scores."
    )
    columns = ["drawn", "exact, or chains", "ratio"]
    return table(result, "Unknown parameters, and noise of sensors", columns, rows, note)


def race(result: Result) -> Table:
    columns = ["seconds, physinv", "seconds, recipe, at least", "times faster, at least", "reached by the recipe"]
    end = f": {columns[0]}"
    goals = [k.removesuffix(end) for k in result["figures"] if k.endswith(end)]
    title = "Time to the published quality, beside a plain re-creation of the published recipe"
    note = (
        "The recipe was stopped at its cap, so factors are lower bounds that the cap sets. The published quality, "
        "Q or MSE and CRPS, our reference law has before any training; calibration (third row) takes us seconds."
    )
    return table(result, title, columns, {g: [f"{g}: {c}" for c in columns] for g in goals}, note)


def reversals(name: str) -> Any:
    """What keeps the reversal stable, one row per way."""

    def make(result: Result) -> Table:
        columns = ["diverged", "CRPS", "spread over skill", "coverage of 90 %"]
        labels = dict.fromkeys(k.rpartition(": ")[0] for k in result["figures"])
        rows = {row: [f"{row}: {c}" for c in columns] for row in labels}
        note = "What diverged is scored as a state of zeros."
        return table(result, f"{name}: which reversal stays on its feet? (of 1000)", columns, rows, note)

    return make


def generation(result: Result) -> Table:
    columns = ["ours", "drawing", "torchsde, plain", "plain", "torchsde, by hand", "same steps", "at most", "finer"]
    heads = ["ours, ms", "random numbers alone, ms", "plain sdeint, ms", "times faster", "tuned Euler, ms"]
    heads += ["times faster", "if only drawing took time", "times faster at equal accuracy"]
    rows = {f"dimension {d}": [f"dim {d}: {c}" for c in columns] for d in (1, 1024)}
    title = "Generation of 1024 Ornstein-Uhlenbeck trajectories beside torchsde.sdeint, in one run"
    note = "CPU time. Plain: `torchsde.sdeint(equation, x, times, dt=dt)`, whose default scheme is SRK; as many "
    note += "steps as ours, which are exact in law. Euler's are cheapest; at equal accuracy it takes six to our one."
    return table(result, title, heads, rows, note)


def fft(result: Result) -> Table:
    names = list(dict.fromkeys(k.rpartition(": ")[0] for k in result["figures"]))
    columns = ["transforms", "at most", "random", "both", "pointwise", "microseconds"]
    heads = ["Fourier transforms", "at most", "random numbers", "both", "pointwise", "microseconds a step"]
    title = "Share of the CPU time of a simulation"
    note = "Pointwise: what the stages of ETDRK4 need between the transforms. The rest is copies and calls. At "
    note += "most: with one product and one multiply-add per stage, no copies or calls. A step: of one trajectory."
    return table(result, title, heads, {n: [f"{n}: {c}" for c in columns] for n in names}, note)


def wrapping(result: Result) -> Table:
    names = list(dict.fromkeys(k.rpartition(": ")[0] for k in result["figures"]))
    rows = {n: [f"{n}: {c}" for c in ("ours", "torch's", "times faster")] for n in names}
    title = "Milliseconds of an update of the network of fields, with our periodic padding and with torch's"
    return table(result, title, ["ours", "torch's", "times faster"], rows)


PUBLISHED_TASKS = (
    ("dapper", "DAPPER: twin experiments, root mean square errors of filters"),
    ("rozet-louppe", "Rozet and Louppe: Lorenz 1963 seen by one number"),
    ("rozet-louppe-likelihoods", "Rozet and Louppe: log p(y|x) of more observations"),
    ("mosaic", "Mosaic: three-dimensional Navier-Stokes, the whole final state seen"),
    ("afdps", "AFDPS: Navier-Stokes on 32 x 32 points, every second one seen"),
    ("inversebench", "InverseBench: forced Navier-Stokes, some points seen"),
)


def published(title: str, result: Result) -> Table:
    """Our figures beside those that others publish."""
    theirs, options = result["published"], result["options"]
    rows = {name: [name, f"{theirs[name]:g}" if name in theirs else ""] for name in result["figures"]}
    told_options = ", ".join(f"{name} {value}" for name, value in options.items())
    return table(result, title, ["physinv", "published"], rows, f"Options: {told_options}." if options else "")


def rows_by_name(title: str, *, turned: bool = False) -> Any:
    """The figures called ``row: column``, or ``column: row``."""

    def make(result: Result) -> Table:
        split = {tuple(k.rpartition(": ")[:: -2 if turned else 2]): k for k in result["figures"]}
        labels, columns = (list(dict.fromkeys(part)) for part in zip(*split, strict=True))
        return table(result, title, columns, {r: [split.get((r, c), "") for c in columns] for r in labels})

    return make


def one_by_one(title: str) -> Any:
    """Each figure in a row."""
    return lambda result: table(result, title, ["found"], {k: [k] for k in result["figures"]})


DETAILS = (
    ("heat", heat),
    ("heat-edges", edges),
    ("quadratic", quadratic),
    ("calibration", calibration),
    ("ornstein-uhlenbeck", ornstein),
    ("heat-partial", partial),
    ("sensors-burgers", sensors("Burgers' equation")),
    ("navier-partial", navier),
    ("candidates", rows_by_name("Navier-Stokes 12 x 12, few sensors: the ways to x_0")),
    ("several-times", grouped("Observations at several times", "Ornstein-Uhlenbeck, four sensors")),
    ("several-times", grouped("Observations at several times", "heat 32")),
    ("several-times", grouped("Observations at several times", "heat 16")),
    ("own-records", rows_by_name("Nonlinear processes, sensors at two times: runs that are trained for them or not")),
    ("unknown-parameters", unknown),
    ("evidence", one_by_one("Log evidence and brackets around it, in nats")),
    ("objectives", grouped("Objectives, same network and time", "OU")),
    ("objectives", grouped("Objectives, same network and time", "quadratic")),
    ("ablation", grouped("What preconditioning and variance reduction bring", "quadratic")),
    ("ablation", grouped("What preconditioning and variance reduction bring", "heat")),
    ("time-to-accuracy", race),
    ("reversals-burgers", reversals("Burgers")),
    ("reversals-kuramoto-sivashinsky", reversals("Kuramoto-Sivashinsky")),
    ("noising", one_by_one("Noising processes, DDPM and noise levels")),
    ("paths", rows_by_name("Paths between x_T and x_0 of an Ornstein-Uhlenbeck process")),
    ("heat-priors", rows_by_name("Laws of initial states of heat, by each generative model")),
    ("priors", one_by_one("One prior, many forward models")),
    ("generation", generation),
    ("fft_share", fft),
    ("wrapping", wrapping),
    ("overhead", rows_by_name("CPU milliseconds of updates and draws, beside their network alone", turned=True)),
    ("memory", rows_by_name("Largest memory of processes, MB, by the number of trajectories")),
    ("small-trajectories", rows_by_name("Many trajectories of one number each", turned=True)),
)
