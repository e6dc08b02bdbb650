"""Tables of text."""

from __future__ import annotations

from tests.fuzz.attempt import ANY, KEPT, REFUSED, SAME, Attempt, Expected, mutation


def _rows(attempt: Attempt) -> list[list[str]]:
    return [line.split(",") for line in attempt.target.read_text("utf-8").splitlines()]


def _write(attempt: Attempt, rows: list[list[str]], separator: str = ",", end: str = "\n") -> None:
    attempt.target.write_text("".join(separator.join(row) + end for row in rows), "utf-8", newline="")


@mutation("csv")
def written_otherwise(attempt: Attempt) -> Expected:
    """The same table with other separators, ends of lines, quotes, or a mark at its beginning."""
    rows = _rows(attempt)
    match attempt.random.randrange(6):
        case 0:
            _write(attempt, rows, end="\r\n")
        case 1:
            _write(attempt, rows, ";")
        case 2:
            _write(attempt, rows, "\t")
        case 3:
            attempt.target.write_bytes(b"\xef\xbb\xbf" + attempt.target.read_bytes())
        case 4:
            _write(attempt, [[f'"{cell}"' for cell in rows[0]], *rows[1:]])
        case _:
            attempt.target.write_text(attempt.target.read_text("utf-8").rstrip("\n"), "utf-8")
    return KEPT


@mutation("csv")
def cell_replaced(attempt: Attempt) -> Expected:
    """A cell that holds no number."""
    rows = _rows(attempt)
    row, column = attempt.random.randrange(1, len(rows)), attempt.random.randrange(len(rows[0]))
    cells = (
        "",
        "nan",
        "inf",
        "-",
        "x",
        "1e400",
        "0x1f",
        "1,5",
        '"',
        "'",
        "\x1b[2J",
        "9" * 400,
        "1_000",
        "=1+1",
        "é" * 99,
    )
    rows[row][column] = attempt.random.choice(cells)
    _write(attempt, rows)
    return ANY if rows[row][column] in ("1_000", "9" * 400, "0x1f") else SAME


@mutation("csv")
def ragged(attempt: Attempt) -> Expected:
    """A line with too many cells, or too few."""
    rows = _rows(attempt)
    at = attempt.random.randrange(1, len(rows))
    rows[at] = attempt.random.choice((rows[at][:-1], [*rows[at], "1"], rows[at] * 50, [""]))
    _write(attempt, rows)
    return ANY if rows[at] == [""] else REFUSED


@mutation("csv")
def heads(attempt: Attempt) -> Expected:
    """Names of columns that are the same, missing, odd, or no names."""
    rows = _rows(attempt)
    n = len(rows[0])
    rows[0] = attempt.random.choice((["a"] * n, [""] * n, ["1"] * n, ["\x1b[31m"] * n, ["x" * 9000] * n, ["time"] * n))
    _write(attempt, rows)
    return ANY


@mutation("csv")
def other_size(attempt: Attempt) -> Expected:
    """No line, one line, or very many columns."""
    rows = _rows(attempt)
    match attempt.random.randrange(4):
        case 0:
            _write(attempt, rows[:1])
        case 1:
            _write(attempt, rows[:2])
        case 2:
            _write(attempt, [[f"c{i}" for i in range(20_000)], ["1"] * 20_000])
        case _:
            attempt.target.write_text("1" * 3_000_000, "utf-8")
    return REFUSED


@mutation("csv")
def times_that_cannot_be(attempt: Attempt) -> Expected:
    """Times that run backward, stand still, or jump."""
    rows = _rows(attempt)
    times = [row[0] for row in rows[1:]]
    new = attempt.random.choice((times[::-1], times[:1] * len(times), [*times[:-1], "1e9"], ["yesterday"] * len(times)))
    _write(attempt, [rows[0], *([t, *row[1:]] for t, row in zip(new, rows[1:], strict=True))])
    timed = rows[0][0].strip().lower() in ("t", "time", "date")
    return REFUSED if timed and new != times[::-1] else ANY
