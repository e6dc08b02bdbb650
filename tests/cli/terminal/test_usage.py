"""Words that the command line cannot use are refused as everything else: the name in backticks, rule, value, remedy."""

import re

import pytest

from physinv.cli.app import main
from physinv.cli.terminal.usage import usage_line


class WrongError(Exception):
    """What a parser raises."""

    def format_message(self):
        return str(self)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["generate", "heat", "--train", "1e2"], "`--train` must be a whole number, got '1e2'; write 100."),
        (["generate", "heat", "--train", "ten"], "`--train` must be a whole number, got 'ten'."),
        (["generate", "heat", "--train", "0"], "`--train` must be at least 1, got '0'."),
        (["free-energy", "x", "--duration", "q"], "`--duration` must be a number, got 'q'."),
        (["train", "x"], "`--out` is missing; `physinv train --help` shows what it takes."),
        (
            ["benchmark", "heat", "--zzz"],
            "there is no option `--zzz`; `physinv benchmark run --help` shows what it takes.",
        ),
        (["simulators", "heat"], "there is no place for `heat`; `physinv simulators --help` shows what it takes."),
        ([], "a verb is missing; `physinv --help` lists them."),
        (["benchmark"], "a verb is missing; `physinv benchmark --help` lists them."),
        (["generat"], "there is no verb `generat`. Did you mean 'generate'?"),
    ],
)
def test_lines_of_the_command(argv, line, capsys):
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert " ".join(capsys.readouterr().err.split()) == f"physinv: {line}"


def test_an_option_that_is_misspelt(capsys):
    with pytest.raises(SystemExit):
        main(["generate", "heat", "--trian", "3"])
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("physinv: there is no option `--trian`")
    assert "--train" in said


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "Invalid value for '--train': '1.5' is not a valid integer range.",
            "`--train` must be a whole number, got '1.5'.",
        ),
        ("Invalid value for '-n' / '--train': 'x' is not a valid float.", "`-n` must be a number, got 'x'."),
        ("Invalid value for '--train': 0 is not in the range x>=1.", "`--train` must be at least 1, got '0'."),
        ("Invalid value for '--seed': 10 is not in the range x<=9", "`--seed` must be at most 9, got '10'."),
        ("Invalid value for '--n': -0.5 is not in the range 0<=x<=1.", "`--n` must be from 0 to 1, got '-0.5'."),
        ("Invalid value for '--n': 0.0 is not in the range x>0.", "`--n` must be above 0, got '0.0'."),
        ("Invalid value for '--n': 1.0 is not in the range 0<=x<1.", "`--n` must have 0<=x<1 for `x`, got '1.0'."),
        ("Option '--budget' requires an argument.", "`--budget` needs a value behind it"),
        ("Something new.", "Something new."),
    ],
)
def test_other_versions_of_the_parser(said, line):
    assert usage_line(WrongError(said)) == line


def test_long_words_are_cut():
    said = usage_line(WrongError(f"Invalid value for '--train': '{'7' * 300}x' is not a valid integer."))
    assert re.fullmatch(r"`--train` must be a whole number, got '7{40}' \.\.\.\.", said)
