"""Write the benchmark tables of README.md from benchmarks/results/*.json.

python benchmarks/readme_table.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def main() -> None:
    heat, edges, quadratic, ou = (_read(n) for n in ("heat", "heat-edges", "quadratic", "ornstein-uhlenbeck"))
    text = "\n\n".join([_heat(heat), _edges(edges), _quadratic(quadratic), _ou(ou)])
    readme = ROOT / "README.md"
    old = readme.read_text("utf-8")
    new = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text}\n{END}", old, flags=re.DOTALL)
    readme.write_text(new, "utf-8")


def _read(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))
    return result


def _made(result: dict[str, Any], seconds: float) -> str:
    v = result["versions"]
    return (
        f"trained {seconds:.0f} s on {result['device']} ({result['hardware']}), seed {result['seed']}, "
        f"physinv {v['physinv']}, torch {v['torch']}"
    )


def _heat(result: dict[str, Any]) -> str:
    f = result["figures"]
    names = [k.removesuffix(", exact") for k in f if k.endswith(", exact") and not k.startswith("flow")]
    rows = [f"| {n} | {f[n]:.4g} | {f[f'{n}, exact']:.4g} |" for n in names]
    flows = [k.removeprefix("flow, exact, ") for k in f if k.startswith("flow, exact")]
    rows += [f"| flow, {n} (8, 32, 64 steps) | " + ", ".join(f"{f[f'flow, {s} steps, {n}']:.4g}" for s in (8, 32, 64))
             + f" | {f[f'flow, exact, {n}']:.4g} |" for n in flows]  # fmt: skip
    made = _made(result, f["training seconds"])
    head = f"**Heat, 32 x 32, Gaussian random field** (2500 trajectories, {made}; 32 steps):"
    note = (
        "Linear and Gaussian: here the reference law alone is nearly exact, and training has to leave it so. What the "
        "network adds shows in the next table and in the row with a Gaussian reference of the last."
    )
    return "\n".join([head, "", "| `sde` | physinv | exact posterior |", "|---|---|---|", *rows, "", note])


def _edges(result: dict[str, Any]) -> str:
    f = result["figures"]
    head = f"**Heat, 16 x 16, sharp edges** (2500 trajectories, {_made(result, f['training seconds'])}):"
    names = [k.removeprefix("physinv: ") for k in f if k.startswith("physinv: ")]
    rows = [f"| {n} | {f[f'physinv: {n}']:.4g} | {f[f'Gaussian: {n}']:.4g} |" for n in names]
    note = "No exact posterior is known here; the targets of the last two rows are .9 and 1."
    columns = "| `sde` | physinv | Gaussian posterior (Wiener), same second moments |"
    return "\n".join([head, "", columns, "|---|---|---|", *rows, "", note])


def _quadratic(result: dict[str, Any]) -> str:
    f = result["figures"]
    head = f"**Quadratic process** (250 trajectories, {_made(result, f['training seconds'])}):"
    q, spread = f["Q, sde, hits within 1 %, mean of 10"], f["Q, its standard deviation over draws"]
    rows = [
        f"| Q of `sde`, hits within 1 % (1000 starts) | {q:.3f} +- {spread:.3f} | .975 +- .019 (fair coins) |",
        f"| largest error of P(x_0 = +1 given x_T), x_T in {f['x_T from, to (range of the test data)']} | "
        f"{f['P(x_0 = +1 | x_T), largest error']:.3f} | 0 (Fokker-Planck) |",
    ]
    return "\n".join([head, "", "| | physinv | exact posterior |", "|---|---|---|", *rows])


def _ou(result: dict[str, Any]) -> str:
    f = result["figures"]
    made = _made(result, f["mixture reference: training seconds"])
    head = f"**Ornstein-Uhlenbeck, three Gaussians in four dimensions** (2500 trajectories, {made}):"
    rows = [
        f"| C2ST, {kind} (mean of 10 observations; .5 is perfect) | "
        f"{f[f'{kind}: C2ST, mean of 10 observations']:.3f} | {f[f'{kind}: exact against exact']:.3f} |"
        for kind in ("mixture reference", "Gaussian reference")
    ]
    return "\n".join([head, "", "| | physinv | exact against exact |", "|---|---|---|", *rows])


if __name__ == "__main__":
    main()
