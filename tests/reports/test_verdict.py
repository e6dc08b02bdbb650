"""The front of accuracy against cost, and what the sentences of a report say."""

from __future__ import annotations

from report_cases import summary, table

from physinv.comparison.records import Summary
from physinv.reports.verdict import front, verdict


def test_the_front_by_hand() -> None:
    """b costs more than a and errs less; c errs more than b at more cost; d and f err as b within the noise, at three
    times and at twice its cost."""
    rows = table(exact=(0.01, 0.1), a=(0.3, 1), b=(0.1, 10), c=(0.2, 20), d=(0.102, 30), e=(0.4, 1), f=(0.102, 20))
    assert front(rows) == {"a", "b", "f"}
    assert front(table(physinv=(0.3, 100, 0.02), linear=(0.25, 1, 0.02))) == {"linear"}
    assert front(table(a=(0.1, 1, 0), b=(0.1001, 2, 0))) == {"a"}


def test_the_verdict_when_physinv_wins() -> None:
    rows = table(exact=(0.092, 1), physinv=(0.094, 60), npse=(0.101, 80), linear=(0.2, 1))
    rows["physinv"]["coverage_90"] = summary(0.905)
    text = verdict(rows)
    assert text[0] == "physinv has the lowest CRPS of all 3 methods (0.0940 ± 0.0010; next: npse, 0.101 ± 0.0010)."
    assert "The exact posterior's CRPS" not in text[1]  # 0.002 apart, two standard errors are 0.0028
    assert "within the noise of the seeds" in text[1]
    assert text[2] == "physinv's 90 % intervals hold the truth in 90.5 % of the cases."
    assert text[3] == "physinv is on the front of CRPS against compute time (60 s), with linear."


def test_the_verdict_when_physinv_loses() -> None:
    rows = table(exact=(0.05, 1), physinv=(0.1, 60), npse=(0.08, 50), fmpe=(0.09, 90), dps=(0.1, 70), linear=(0.2, 1))
    rows["physinv"]["coverage_90"] = summary(0.7)
    text = verdict(rows)
    assert text[0] == (
        "npse (0.0800 ± 0.0010) and fmpe (0.0900 ± 0.0010) beat physinv on CRPS (0.100 ± 0.0010); dps is level with it."
    )
    assert text[1].endswith("physinv's is 100 % above it.") or "1e+02 % above" in text[1]
    assert "70.0 % of the cases, which is too rare" in text[2]
    assert text[3].startswith("physinv is not on the front")
    assert "npse (CRPS 0.0800 ± 0.0010, 50 s) reaches" in text[3]
    assert "fmpe" not in text[3]


def test_the_verdict_tells_what_one_more_sample_costs() -> None:
    """Of the methods that beat physinv, those that take twice its time or more; the better ones first."""
    rows = table(physinv=(0.1, 60), npse=(0.08, 50), lbfgs=(0.07, 90), fmpe=(0.06, 70), dps=(0.2, 70))
    for method, seconds in {"physinv": 0.05, "npse": 0.2, "lbfgs": 2.25, "fmpe": 0.09, "dps": 3.0}.items():
        rows[method]["sample_seconds"] = summary(seconds)
    assert verdict(rows)[-1] == "Once trained, one more sample takes physinv 0.050 s, lbfgs 2.2 s and npse 0.20 s."
    rows["physinv"]["crps"] = summary(0.05)
    assert not any("one more sample" in line for line in verdict(rows))


def test_the_verdict_when_physinv_ties_and_when_there_is_one_seed() -> None:
    assert verdict(table(physinv=(0.1, 60), npse=(0.099, 50), linear=(0.2, 1)))[0] == (
        "physinv (0.100 ± 0.0010) and npse (0.0990 ± 0.0010) share the lowest CRPS of all 3 methods, within the "
        "noise of the seeds; next: linear (0.200 ± 0.0010)."
    )
    single = {m: {"crps": summary(v, None)} for m, v in {"physinv": 0.1, "npse": 0.11}.items()}
    assert "one seed" in verdict(single)[-1]
    assert "nothing can be said" in verdict({"npse": {}, "exact": single["npse"]})[0]


def test_the_verdict_is_about_the_best_method_where_physinv_takes_no_part() -> None:
    said = verdict(table(npse=(0.1, 50), dps=(0.3, 9), linear=(0.2, 1), exact=(0.05, 1)))
    assert said[0] == "npse has the lowest CRPS of all 3 methods (0.100 ± 0.0010; next: linear, 0.200 ± 0.0010)."
    assert said[1] == "The exact posterior's CRPS is 0.0500 ± 0.0010: npse's is 100 % above it."
    assert not any("physinv" in line for line in said)


def test_the_verdict_names_methods_that_were_run_on_other_observations() -> None:
    rows = table(physinv=(0.1, 60), linear=(0.2, 1), npse=(0.3, 50))
    for method, data, seeds in (("physinv", "now", (0, 1)), ("linear", "now", (0,)), ("npse", "before", (0, 1))):
        rows[method]["crps"] = Summary.of({(seed, data): 0.1 for seed in seeds})
    assert verdict(rows)[-1] == "npse was run on other observations than physinv; run it again."
    rows["npse"]["crps"] = Summary.of({(5, "before"): 0.1})  # of another seed: nobody takes it for the same
    assert not any("other observations" in line for line in verdict(rows))


def test_the_verdict_names_checks_that_fail_and_no_others() -> None:
    rows = table(exact=(0.1, 1), physinv=(0.1, 60), linear=(0.2, 1))
    rows["physinv"] |= {"misfit_median": summary(1.1), "outside": summary(0.0), "patch_c2st": summary(0.55)}
    assert not any("told from true states" in text for text in verdict(rows))
    rows["physinv"] |= {"outside": summary(0.74), "total_variation": summary(2.0)}
    (said,) = (text for text in verdict(rows) if "told from true states" in text)
    assert said.endswith("exact posterior: outside 0.740 ± 0.0010 and total variation 2.000 ± 0.0010 for 1.")
