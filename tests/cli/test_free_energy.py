import json

import pytest


def test_json_and_table_have_the_same_numbers(physinv):
    words = ("free-energy", "double-well", "--vary", "barrier=1:1.5", "--duration", "0.2", "--runs", "200")
    code, out, err = physinv(*words, "--steps", "10", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["process"], told["parameter"], told["from"], told["to"]) == ("double-well", "barrier", 1.0, 1.5)
    assert told["difference_in_energy"] == pytest.approx(0.5 * told["difference"])  # kT = 0.5
    code, out, err = physinv(*words, "--steps", "10")
    assert code == 0, err
    assert f"{told['difference']:.5g}" in out
    assert "200 runs in each direction of 10 steps" in out


def test_work_that_does_not_overlap_is_said(physinv):
    """A trap is dragged a hundred widths at once: the work is 5000 +- 100 each way, and their sum twice that."""
    words = ("free-energy", "trap_cases:Trap", "--vary", "centre=0:100", "--duration", "1e-6", "--runs", "200")
    code, out, err = physinv(*words, "--steps", "1", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["difference"] is told["error"] is told["difference_in_energy"] is told["crooks_slope"]["value"] is None
    assert any("does not overlap" in line for line in told["warnings"])
    code, out, err = physinv(*words, "--steps", "1")
    assert code == 0, err
    assert "not known" in out
    assert "does not overlap" in " ".join((out + err).split())


def test_a_process_of_ones_own_needs_two_members_and_no_registration(physinv):
    words = ("free-energy", "trap_cases:Trap", "--vary", "stiffness=1:4", "--duration", "0.1", "--runs", "400")
    code, out, err = physinv(*words, "--steps", "5", "--json", "--seed", "3")
    assert code == 0, err
    told = json.loads(out)
    assert abs(told["difference"] - 0.6931) < 4 * told["error"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("heat", "--vary", "diffusivity=1:2"), "Heat has no potential"),
        (("double-wel", "--vary", "barrier=1:2"), "double-well"),
        (("double-well", "--vary", "barier=1:2"), "did you mean `barrier`"),
        (("double-well", "--vary", "barrier=0:2"), "`barrier` of DoubleWell must be above 0 for Boltzmann's law"),
        (
            ("double-well", "--vary", "barrier=1:2", "--set", "barrier=9"),
            "`--set barrier` must be another parameter than",
        ),
        (("double-well", "--vary", "barrier=1:2", "--runs", "100000000000"), "`runs` = 100000000000 takes"),
        (("double-well", "--vary", "barrier=1"), "`--vary` takes KEY=A:B, such as barrier=1:3, got 'barrier=1'"),
        (("double-well", "--vary", "barrier=1:nan"), "`--vary` takes KEY=A:B"),
        (("double-well", "--vary", "barrier=1:2", "--duration", "nan"), "`duration` must be above 0, got nan"),
        (("double-well", "--vary", "barrier=1:2", "--steps", "1000000000"), "`steps` must be at most 100000"),
        (("double-well", "--vary", "barrier=1:2", "--set", "temperature=0"), "`temperature` of DoubleWell"),
        (("particles-underdamped", "--vary", "stiffness=1:2"), "the drift of UnderdampedParticles is not"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(physinv, words, told):
    code, out, err = physinv("free-energy", *words)
    assert (code, out) == (2, "")
    (line,) = (line for line in err.splitlines() if not line.startswith("changing the energy"))  # progress, if slow
    assert line.startswith("physinv: ")
    assert told in line
