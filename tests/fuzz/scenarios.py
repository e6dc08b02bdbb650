"""Which verb reads which file of ours, with which mutations, and what its content is."""

from __future__ import annotations

import functools

from tests.fuzz import contents
from tests.fuzz.scenario import (
    FIT,
    HDF5,
    JSON,
    LINES,
    OBSERVED,
    OWN,
    RECON,
    RESUME,
    SHARD,
    TENSORS,
    TOML,
    TRAIN,
    Scenario,
    words_of,
)
from tests.fuzz.scenarios_of_others import arguments, sources
from tests.fuzz.scenarios_of_records import around_records, words_around_records


def _trajectories() -> list[Scenario]:
    """Trajectory files, of this version and of earlier ones, read by all verbs that do."""
    c = contents
    found = []
    for kind, file in (("vector", "double-well"), ("field", "heat"), ("particles", "particles")):
        shard = f"{kind}/data/train/{file}_000.hdf5"
        found += [
            Scenario(f"info {kind} file", ("info", shard, "--json"), OWN, c.printed, shard, (kind,), sealed=True),
            Scenario(f"fit to {kind}", ("train", kind, *FIT), OWN, c.run, shard, (kind,), sealed=True),
            Scenario(
                f"info old {kind} file",
                ("info", f"old/{kind}.hdf5", "--json"),
                OWN,
                c.printed,
                f"old/{kind}.hdf5",
                ("old",),
            ),
        ]
    vector = ("vector",)
    own = f"vector/{OBSERVED}"
    found += [
        Scenario("info vector", ("info", "vector", "--json"), OWN, c.printed, f"vector/{SHARD}", vector, sealed=True),
        Scenario("train vector", ("train", "vector", *TRAIN), OWN, c.run, f"vector/{SHARD}", vector, sealed=True),
        Scenario(
            "train field",
            ("train", "field", *TRAIN),
            OWN,
            c.run,
            "field/data/train/heat_000.hdf5",
            ("field",),
            sealed=True,
            weight=0.5,
        ),
        Scenario(
            "reconstruct vector",
            ("reconstruct", "run", "--data", "vector/data/test", *RECON),
            OWN,
            c.reconstruction,
            own,
            ("vector", "run"),
            sealed=True,
        ),
        Scenario(
            "reconstruct old vector file",
            ("reconstruct", "run", "--data", "old/vector.hdf5", *RECON),
            OWN,
            c.nothing,
            "old/vector.hdf5",
            ("old", "run"),
        ),
        Scenario(
            "observe vector",
            ("reconstruct", "run", "--observation", own, *RECON),
            OWN,
            c.reconstruction,
            own,
            ("vector", "run"),
            sealed=True,
            weight=0.5,
        ),
        Scenario(
            "import old field file",
            ("import", "old/field.hdf5", "--out", "out"),
            HDF5,
            c.dataset,
            "old/field.hdf5",
            ("old",),
            refused=True,  # it was written by physinv
        ),
        Scenario(
            "import field file",
            ("import", "field/data/train/heat_000.hdf5", "--out", "out"),
            HDF5,
            c.dataset,
            "field/data/train/heat_000.hdf5",
            ("field",),
            sealed=True,
            weight=0.5,
        ),
        Scenario(
            "plot old vector file",
            ("info", "old/vector.hdf5", "--plot", "out.png"),
            OWN,
            c.nothing,
            "old/vector.hdf5",
            ("old",),
            weight=0.3,
        ),
    ]
    return found


def _datasets() -> list[Scenario]:
    """What lies beside trajectories."""
    c, vector = contents, ("vector",)
    own = "vector/dataset.json"
    again = ("generate", "vector/recipe.toml")
    data = ("vector",)
    found = [
        Scenario("info dataset.json", ("info", "vector", "--json"), JSON, c.printed, own, vector, sealed=True),
        Scenario("fit with dataset.json", ("train", "vector", *FIT), JSON, c.run, own, vector, sealed=True),
        Scenario(
            "generate again over dataset.json",
            again,
            JSON,
            functools.partial(c.dataset, folder="vector"),
            own,
            vector,
            outputs=data,
            sealed=True,
            refused=True,
        ),
        Scenario(
            "generate again over a shard",
            again,
            ("bytes", "places", "hdf5"),
            functools.partial(c.dataset, folder="vector"),
            f"vector/{SHARD}",
            vector,
            outputs=data,
            sealed=True,
            refused=True,
        ),
        Scenario(
            "generate from a recipe",
            ("generate", "recipe.toml", "--out", "out"),
            (*TOML, "recipe"),
            c.dataset,
            "recipe.toml",
            ("recipe.toml",),
            weight=1.5,
        ),
        Scenario(
            "train with settings",
            ("train", "vector", "--out", "out", "--method", "physinv", "--steps", "2", "--config", "settings.toml"),
            (*TOML, "settings"),
            c.run,
            "settings.toml",
            ("vector", "settings.toml"),
            weight=1.5,
        ),
        Scenario(
            "benchmark from a recipe",
            words_of("benchmark benchmark.toml --out out --jobs 1"),
            TOML,
            c.nothing,
            "benchmark.toml",
            ("benchmark.toml",),
            weight=0.3,
        ),
    ]
    return found


def _runs() -> list[Scenario]:
    """Files of runs, of this version and of an earlier one."""
    c = contents
    found = []
    for run, sealed in (("run", True), ("old-run", False), ("learned", True), ("field-run", True)):
        recon = ("reconstruct", run, "--data", "vector/data/test", *RECON)
        needs: tuple[str, ...] = (run, "vector")
        if run == "learned":
            recon, needs = ("reconstruct", run, "--data", "imported/data/test", *RECON), (run, "imported")
        if run == "field-run":
            recon, needs = ("reconstruct", run, "--data", "field/data/test", *RECON), (run, "field")
        if run == "old-run":
            recon, needs = ("reconstruct", run, "--data", "old/vector.hdf5", *RECON), (run, "old")
        info = ("info", run, "--json")
        more = ("run-json",)
        found += [
            Scenario(f"info {run}/run.json", info, (*JSON, *more), c.printed, f"{run}/run.json", (run,), sealed=sealed),
            Scenario(
                f"reconstruct {run}/run.json",
                recon,
                (*JSON, *more),
                c.reconstruction,
                f"{run}/run.json",
                needs,
                sealed=sealed,
            ),
            Scenario(
                f"reconstruct {run}/model",
                recon,
                TENSORS,
                c.reconstruction,
                f"{run}/model.safetensors",
                needs,
                sealed=sealed,
            ),
        ]
    own = ("run", "vector")
    compared = ("compare", "run", "run2", "--data", "vector/data/test", "--samples", "2", "--json")
    found += [
        Scenario(
            "info run/log", ("info", "run", "--json"), LINES, c.printed, "run/score/log.jsonl", ("run",), sealed=True
        ),
        Scenario(
            "info old-run/log", ("info", "old-run", "--json"), LINES, c.printed, "old-run/log.jsonl", ("old-run",)
        ),
        Scenario(
            "info run/model",
            ("info", "run", "--json"),
            TENSORS,
            c.printed,
            "run/model.safetensors",
            ("run",),
            sealed=True,
        ),
        Scenario(
            "reconstruct run/summary",
            ("reconstruct", "run", "--data", "vector/data/test", *RECON),
            TENSORS,
            c.reconstruction,
            "run/summary.safetensors",
            own,
            sealed=True,
        ),
    ]
    for file, families in (
        ("run.json", JSON),
        ("score/checkpoint.safetensors", TENSORS),
        ("jumps/checkpoint.safetensors", TENSORS),
        ("score/log.jsonl", LINES),
        ("model.safetensors", TENSORS),
    ):
        found.append(
            Scenario(
                f"resume over {file}",
                ("train", "vector", *RESUME),
                families,
                c.run,
                f"out/{file}",
                ("vector", "run>out"),
                sealed=True,
            )
        )
    found.append(
        Scenario(
            "resume learned physics",
            ("train", "imported", *RESUME, "--method", "physinv", "--set", "physics=learned", "--steps", "5"),
            TENSORS,
            c.run,
            "out/score/physics.safetensors",
            ("imported", "learned>out"),
            sealed=True,
            weight=0.5,
        )
    )
    found.append(
        Scenario("compare runs", compared, JSON, c.printed, "run2/run.json", ("vector", "run", "run>run2"), sealed=True)
    )
    return found


def _reconstructions() -> list[Scenario]:
    """Reconstructions, of this version and of an earlier one."""
    c = contents
    evaluate = ("--json", "out.json")
    found = []
    for name, sealed in (("r.hdf5", True), ("rf.hdf5", True), ("ro.hdf5", True), ("old.hdf5", False)):
        found += [
            Scenario(f"info {name}", ("info", name, "--json"), HDF5, c.printed, name, (name,), sealed=sealed),
            Scenario(f"evaluate {name}", ("evaluate", name, *evaluate), HDF5, c.table, name, (name,), sealed=sealed),
        ]
    found += [
        Scenario(
            "compare reconstructions",
            ("compare", "r.hdf5", "r2.hdf5", "--json"),
            HDF5,
            c.printed,
            "r2.hdf5",
            ("r.hdf5", "r2.hdf5"),
            sealed=True,
        ),
        Scenario(
            "plot old.hdf5",
            ("info", "old.hdf5", "--plot", "out.png"),
            HDF5,
            c.nothing,
            "old.hdf5",
            ("old.hdf5",),
            weight=0.3,
        ),
    ]
    return found


def _benchmarks() -> list[Scenario]:
    """Results of benchmarks."""
    c = contents
    ab = ("a", "b")
    example = "a/examples/physinv.npz"
    made = ("a/report.html", "a/table.md", "a/figures", "a/reconstruction.gif")
    compare = words_of("benchmark compare a b --json")
    return [
        Scenario("compare results", compare, LINES, c.printed, "b/cells.jsonl", ab, sealed=True, weight=2, done=(0, 1)),
        Scenario(
            "report results",
            words_of("benchmark report a --json"),
            LINES,
            c.printed,
            "a/cells.jsonl",
            ("a",),
            outputs=made,
            weight=0.3,
            sealed=True,
        ),
        Scenario(
            "report examples",
            words_of("benchmark report a --json"),
            ("bytes", "places", "npz"),
            c.printed,
            example,
            ("a",),
            outputs=made,
            weight=0.2,
            sealed=True,
        ),
    ]


def scenarios() -> list[Scenario]:
    """All scenarios."""
    ours = (_trajectories, _datasets, _runs, _reconstructions, _benchmarks, around_records)
    groups = (*ours, sources, arguments, words_around_records)
    return [one for group in groups for one in group()]
