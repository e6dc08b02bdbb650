"""The hint names the nearest name, or all of them."""

from pathlib import Path

from physinv.config.suggest import did_you_mean


def test_hints():
    assert did_you_mean("heta", ["wave", "heat"]) == "did you mean `heat`?"
    assert did_you_mean("zzz", ["wave", "heat"]) == "there are heat, wave."
    assert did_you_mean("zzz", ["wave"]) == "there is only wave."
    assert did_you_mean("zzz", ["b", "a"], owner="it has") == "it has a, b."
    assert did_you_mean("zzz", [], owner="it has") == "it has none."


def test_no_other_place_makes_hints():
    root = Path(__file__).resolve().parents[2]
    files = [p for top in ("physinv", "simulators", "benchmarks") for p in root.glob(f"{top}/**/*.py")]
    assert {p.name for p in files if "difflib" in p.read_text("utf-8")} == {"suggest.py"}
