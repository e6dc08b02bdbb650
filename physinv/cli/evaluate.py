"""The verb `physinv evaluate`.  Heavy imports happen inside."""

from __future__ import annotations

__all__ = ["evaluate"]

from pathlib import Path
from typing import Annotated

import typer

from physinv.cli.options import Overwrite, Strict, check_output
from physinv.cli.terminal import console
from physinv.cli.terminal.stopping import keeping
from physinv.config.outputs.refusals import check_folder, refuse_existing


def evaluate(
    recon: Annotated[Path, typer.Argument(help="A file made by `physinv reconstruct`.")],
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the tables as JSON; -: print JSON, and no tables."),
    ] = None,
    plots: Annotated[Path | None, typer.Option(metavar="DIR", help="Also draw figures into this folder.")] = None,
    strict: Strict = False,
    overwrite: Overwrite = False,
) -> None:
    """Evaluate a reconstruction: metrics beside the exact posterior's, checks that need none, and a verdict in words.

    Of observations without true initial states it makes the posterior predictive check instead: do samples that are run
    forward lead to what was observed?

    Example: physinv evaluate heat.hdf5 --json heat.json --plots figures
    """
    from physinv.config.files import write_text
    from physinv.config.outputs.locks import lock_file
    from physinv.evaluation.checks import warnings
    from physinv.evaluation.evaluate import check, check_predictive, evaluate, judge, to_json
    from physinv.evaluation.frames import frame_metrics, missing_metrics
    from physinv.evaluation.verdict.certificate import certificate_sentences
    from physinv.posterior.reconstruction import read_reconstruction
    from physinv.processes.given import GivenPhysics
    from physinv.reports.reconstruction import FIGURES, draw_reconstruction

    printed = json == Path("-")
    if not printed:
        check_output(json, "--json", recon, overwrite=overwrite)
    if plots is not None:
        check_folder(plots)
        for name in FIGURES:
            refuse_existing(plots / f"{name}.png", "--plots", overwrite=overwrite)
    loaded = read_reconstruction(recon)
    info, physics = loaded.info, loaded.simulator
    steps = "" if info["steps"] is None else f", {info['steps']} steps"
    named = f"{physics.physics} (given)" if isinstance(physics, GivenPhysics) else info["simulator"]
    title = f"{named}, {loaded.called} {info['answer']}{steps}"

    # Everything is computed before anything is written, so that `--strict` leaves nothing behind.
    if loaded.truth is None:
        rows, checks, said, seen_at, gaps = [], [], None, [], None
        found = check_predictive(loaded)
        predictive = None if found is None else found[1]
        told = [] if predictive is None else list(predictive.warnings)
    else:
        rows, checks, predictive, seen_at = evaluate(loaded), check(loaded), None, frame_metrics(loaded)
        said, gaps = judge(loaded, rows, checks=checks), missing_metrics(loaded)
        told = warnings(checks) + list(said.warnings)
    unlike = [*info.get("familiarity", {}).get("warnings", []), *info.get("warnings", [])]
    told += unlike
    if strict and told:
        raise ValueError(" ".join(told))
    written = "" if json is None else to_json(rows, loaded, checks, said, predictive, seen_at, gaps)
    if printed:
        console.plain(written.rstrip())  # which has all sentences, too
    elif loaded.truth is None:
        console.predictive(predictive, loaded, title)
    else:
        console.metrics(rows, title)
        console.frames(seen_at)
        console.missing(gaps)
        console.checks(checks)
        console.verdict(said)
        console.say("\n".join(certificate_sentences(info)))
    if not printed:
        console.red(unlike)
    if json is not None and not printed:
        with lock_file(json, "evaluate"):
            check_output(json, "--json", recon, overwrite=overwrite)
            write_text(json, written)
        console.note(f"table in {json}")
    if plots is not None:
        tables = "no table was asked for" if json is None or printed else f"the table in {json} is written"
        with keeping(f"{tables}, and finished figures are in {plots}; the same command with `--overwrite` draws all"):
            for path in draw_reconstruction(loaded, plots):
                console.note(f"figure in {path}")
