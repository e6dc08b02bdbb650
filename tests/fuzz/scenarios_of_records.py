"""Records, gaps, priors, sensors, evidence and free energy: their files, and hostile words for their verbs."""

from __future__ import annotations

from tests.fuzz import contents
from tests.fuzz.inputs_of_records import FEW, PARTLY
from tests.fuzz.scenario import HDF5, JSON, OBSERVED, OWN, TENSORS, TOML, TRAIN, Scenario, words_of

DRAWN = words_of("--out out.hdf5 --samples 2")
IMPUTE = ("impute", "gaps", "--data", "g.npy", *DRAWN)
HIDE = ("impute", "gaps", *words_of("--data vector/data/test --hide every:2 --observed-noise 0.1"), *DRAWN)
OWN_RECORD = (*words_of("reconstruct run --record records/record.toml --frames all"), *DRAWN)
STORED_RECORD = (*words_of("reconstruct run --data vector/data/test --at 0.25,0.5 --frames all"), *DRAWN)
GUIDED = (*words_of("reconstruct --method dps --prior prior --data vector/data/test --limit 1"), *DRAWN)
GUIDED = (*GUIDED, *words_of("--option steps=2 --set temperature=0.75 --observe everything --observed-noise 0.1"))
SENSORS = (*words_of("reconstruct sensors --data field/data/test --observe sensors:0.5 --limit 2"), *DRAWN)
EVIDENCE = words_of("evidence run --data vector/data/test --draws 8 --limit 3 --json")
COMPARED = words_of("compare run run2 --data vector/data/test --evidence --draws 8 --limit 3 --json")
ENERGY = words_of("free-energy double-well --vary barrier=1:2 --runs 100 --steps 10 --duration 0.1 --json")
LEARN_PRIOR = ("train", "vector", "--out", "out", "--prior", *FEW)
LEARN_GAPS = ("train", "vector", "--out", "out", "--method", "imputation", *FEW)
LEARN_PARTLY = ("train", "field", *TRAIN, *PARTLY)


def around_records() -> list[Scenario]:
    """Files that these verbs read."""
    c = contents
    arrays = ("bytes", "places", "npy")
    own = f"vector/{OBSERVED}"
    table = [
        ("impute g.npy", IMPUTE, arrays, "g.npy", ("gaps", "g.npy"), False, 1.0),
        ("impute hidden", HIDE, OWN, own, ("gaps", "vector"), True, 1.0),
        ("impute gaps/run.json", IMPUTE, JSON, "gaps/run.json", ("gaps", "g.npy"), True, 0.5),
        ("impute gaps/model", IMPUTE, TENSORS, "gaps/model.safetensors", ("gaps", "g.npy"), True, 0.5),
        (
            "record record.toml",
            OWN_RECORD,
            (*TOML, "record"),
            "records/record.toml",
            ("run", "records"),
            False,
            1.5,
        ),
        ("record early.npy", OWN_RECORD, arrays, "records/early.npy", ("run", "records"), False, 0.5),
        ("record mask.npy", OWN_RECORD, arrays, "records/mask.npy", ("run", "records"), False, 0.5),
        ("record of vector", STORED_RECORD, OWN, own, ("run", "vector"), True, 0.5),
        ("guide prior/run.json", GUIDED, JSON, "prior/run.json", ("prior", "vector"), True, 0.5),
        ("guide prior/model", GUIDED, TENSORS, "prior/model.safetensors", ("prior", "vector"), True, 0.5),
        ("guide vector", GUIDED, OWN, own, ("prior", "vector"), True, 0.3),
        ("sensors/run.json", SENSORS, JSON, "sensors/run.json", ("sensors", "field"), True, 0.3),
        ("sensors/model", SENSORS, TENSORS, "sensors/model.safetensors", ("sensors", "field"), True, 0.3),
    ]
    found = [
        Scenario(name, argv, families, c.reconstruction, target, needs, sealed=sealed, weight=weight)
        for name, argv, families, target, needs, sealed, weight in table
    ]
    evidence = ("run", "vector")
    found += [
        Scenario("evidence vector", EVIDENCE, OWN, c.printed, own, evidence, sealed=True, weight=0.5),
        Scenario("evidence run.json", EVIDENCE, JSON, c.printed, "run/run.json", evidence, sealed=True, weight=0.3),
        Scenario(
            "evidence run/model",
            EVIDENCE,
            TENSORS,
            c.printed,
            "run/model.safetensors",
            evidence,
            sealed=True,
            weight=0.3,
        ),
        Scenario(
            "train partly",
            LEARN_PARTLY,
            OWN,
            c.run,
            "field/data/train/heat_000.hdf5",
            ("field",),
            sealed=True,
            weight=0.3,
        ),
        Scenario(
            "benchmark observed.toml",
            words_of("benchmark observed.toml --out out --jobs 1"),
            TOML,
            c.nothing,
            "observed.toml",
            ("observed.toml",),
            weight=0.3,
        ),
    ]
    for name in ("i.hdf5", "rr.hdf5"):
        evaluate = ("evaluate", name, "--json", "out.json")
        found += [
            Scenario(f"info {name}", ("info", name, "--json"), HDF5, c.printed, name, (name,), sealed=True, weight=0.5),
            Scenario(f"evaluate {name}", evaluate, HDF5, c.table, name, (name,), sealed=True, weight=0.5),
        ]
    return found


def words_around_records() -> list[Scenario]:
    """Hostile words for these verbs."""
    c = contents
    compared = ("vector", "run", "run>run2")
    table = [
        ("impute", IMPUTE, ("gaps", "g.npy"), c.reconstruction, ()),
        ("hide", HIDE, ("gaps", "vector"), c.nothing, ("values",)),
        ("a record", OWN_RECORD, ("run", "records"), c.nothing, ("values",)),
        ("a stored record", STORED_RECORD, ("run", "vector"), c.nothing, ("values",)),
        ("guidance", GUIDED, ("prior", "vector"), c.nothing, ("values", "sets")),
        ("sensors", SENSORS, ("sensors", "field"), c.nothing, ("values",)),
        ("evidence", EVIDENCE, ("run", "vector"), c.nothing, ()),
        ("compare evidence", COMPARED, compared, c.nothing, ()),
        ("free energy", ENERGY, (), c.nothing, ("values", "sets")),
        ("learn a prior", LEARN_PRIOR, ("vector",), c.run, ("sets",)),
        ("learn gaps", LEARN_GAPS, ("vector",), c.run, ("sets",)),
        ("learn partly", LEARN_PARTLY, ("field",), c.nothing, ("sets", "values")),
    ]
    return [
        Scenario(f"words of {name}", argv, ("arguments", *more), content, needs=needs)
        for name, argv, needs, content, more in table
    ]
