"""Tables of text: long, wide and bare ones, dates in any order that can be told, and what is no table."""

import re

import numpy as np
import pandas as pd
import pytest

from physinv.data.sources.read import open_source, read_states, state_array

U = np.random.default_rng(0).normal(size=(6, 5, 4)).astype("f4")  # (sample, time, x)
T, X = np.linspace(0, 1, 5), np.arange(4) / 4


def test_tables(tmp_path):
    rows = [f"{t},{s},{U[s, i, 0]!s},{U[s, i, 1]!s}" for s in range(3) for i, t in enumerate(T)]
    (tmp_path / "long.csv").write_text("time,sample,u,v\n" + "\n".join(rows))
    states = read_states(tmp_path / "long.csv")
    assert np.allclose(state_array(states), U[:3, :, :2])
    rows = [f"{i},{x},{U[0, i, j]!s}" for i in range(5) for j, x in enumerate(X)]
    (tmp_path / "grid.csv").write_text("time,x,u\n" + "\n".join(rows))
    assert np.allclose(state_array(read_states(tmp_path / "grid.csv"))[0, :, 0], U[0])
    lines = [",".join([str(10 * i), *map(str, U[0, i])]) + "," for i in range(5)]  # with a comma too many
    (tmp_path / "bare.csv").write_text("\ufeff" + "\n".join(lines))
    states = read_states(tmp_path / "bare.csv", "column_1,column_3", times="column_0")
    assert np.allclose(state_array(states)[0], U[0][:, [0, 2]])
    assert states.time.values.tolist() == [0, 10, 20, 30, 40]
    (tmp_path / "german.csv").write_text("time;u\n0,5;1,25\n1,5;2,5\n")
    assert state_array(read_states(tmp_path / "german.csv"))[0].ravel().tolist() == [1.25, 2.5]
    (tmp_path / "dates.csv").write_text("date;u\n2020-02-27;1\n2020-02-28;2\n2020-03-01;3\n")
    states = read_states(tmp_path / "dates.csv")
    assert states.time.values.tolist() == [0, 1, 3]
    assert states.time.attrs["units"] == "days since 2020-02-27T00:00:00"


@pytest.mark.parametrize("how", [{"index": False}, {}, {"index": False, "sep": ";", "decimal": ","}])
def test_a_line_that_numbers_columns_is_no_row(how, tmp_path):
    table = pd.DataFrame(U[:4, 0, :3])
    table.to_csv(tmp_path / "a.csv", **how)
    found = open_source(tmp_path / "a.csv")
    assert list(found.data_vars) == ["column_0", "column_1", "column_2"]
    assert np.allclose(np.stack([found[k].values for k in found.data_vars], 1), table)
    table.columns = [1, 2, 3]
    table.to_csv(tmp_path / "a.csv", **how)
    assert open_source(tmp_path / "a.csv").sizes == found.sizes

    # Whole numbers below, other numbers above, and two columns, such as a time and a value, are rows.
    for text, rows in (("0,1,2\n3,4,5\n", 2), ("0,2,1\n.3,.4,.5\n", 2), ("0,1\n.3,.4\n", 2)):
        (tmp_path / "a.csv").write_text(text)
        assert dict(open_source(tmp_path / "a.csv").sizes) == {"axis_0": rows}


DAYS = [f"{day:02}/03/2020" for day in range(1, 13)]


@pytest.mark.parametrize(
    ("dates", "last", "note"),
    [
        (DAYS, 11, "day/month/year, the only way in which they are evenly spaced"),
        ([*DAYS, "13/03/2020"], 12, "day/month/year, since some have a day above 12"),
        (["03/12/2020", "03/13/2020", "03/15/2020"], 3, "month/day/year, since some have a day above 12"),
        (["05.03.2020", "11.03.2020", "02.04.2020"], 28, "day/month/year, the only way in which they are sorted"),
        ([f"{m:02}/01/{y}" for y in (2020, 2021) for m in range(1, 13)], 700, "month/day/year"),
        (["2020-03-01T00:00Z", "2020-03-02T00:00Z"], 1, None),
    ],
)
def test_day_and_month_in_the_order_that_all_dates_allow(dates, last, note, tmp_path):
    (tmp_path / "a.csv").write_text("date,u\n" + "".join(f"{d},{i}\n" for i, d in enumerate(dates)))
    states = read_states(tmp_path / "a.csv")
    assert states.time.values[[0, -1]].tolist() == [0, last]
    assert [n for n in states.attrs["notes"] if "dates are read as" in n] == [
        n for n in states.attrs["notes"] if note is not None and n.startswith(f"dates are read as {note}")
    ]
    assert any("dates" in n for n in states.attrs["notes"]) == (note is not None)


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ([f"{m:02}/01/2020" for m in range(1, 13)], "'02/01/2020' may be 2020-01-02 or 2020-02-01"),
        (["13/03/2020", "03/13/2020"], "days and months are in different orders"),
        (["01/03/20", "13/03/20"], "'01/03/20' does not say its century"),
        (["2020-01-01", "hello"], "'hello' is no date; write dates as 2020-12-31 12:00, or give `--times`"),
    ],
)
def test_dates_that_may_be_others_are_refused(dates, expected, tmp_path):
    """First days of months, or days of January? With times of one's own it does not matter."""
    (tmp_path / "a.csv").write_text("date,u\n" + "".join(f"{d},{i}\n" for i, d in enumerate(dates)))
    with pytest.raises(ValueError, match=re.escape(expected)):
        read_states(tmp_path / "a.csv")
    assert read_states(tmp_path / "a.csv", times="0.5").time.values[:2].tolist() == [0, 0.5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"time,u\n0,1\n1,2,3,4\n", "line 3 has 4 columns, the lines before it 2"),
        (b"\n\n", "it is empty"),
        (b"time,u\n0,\xe9\n", "it is no text in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_in_plain_words(text, expected, tmp_path):
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(ValueError, match=expected):
        open_source(tmp_path / "a.csv")


def test_units_under_the_names_of_a_table(tmp_path, recwarn):
    """Also below comments, in brackets, and empty where there is none; words that are data stay data."""
    rows = [f"{t};{x};{t * x},5;{t};Paris" for t in range(3) for x in range(2)]
    (tmp_path / "a.csv").write_text("# log\n\ntime;x;a;b;town\n[s];m;degC;;name\n" + "\n".join(rows))
    states = read_states(tmp_path / "a.csv")
    assert np.array_equal(state_array(states)[0, :, 0], [[0.5, 0.5], [0.5, 1.5], [0.5, 2.5]])
    assert [states[v].attrs.get("units") for v in ("time", "x", "a", "b")] == ["s", "m", "degC", None]
    assert states.attrs["notes"][:2] == ["units are those of line 4", "left out: town (text, not numbers)"]
    (tmp_path / "b.csv").write_text("date,town,u\n2020-01-01,Paris,\n2020-01-02,Rome,2\n2020-01-03,Rome,3\n")
    states = read_states(tmp_path / "b.csv")
    assert np.array_equal(state_array(states)[0, :, 0], [np.nan, 2, 3], equal_nan=True)
    assert states.attrs["notes"] == ["left out: town (text, not numbers)"]
    assert not recwarn.list


@pytest.mark.parametrize("cell", ["-", "x", "\x1b[2J", "1.2.3"])
def test_a_word_among_the_numbers_of_a_column_is_told_with_its_row(cell, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"time,a,b\n0.0,1.5,2\n0.5,{cell},3\n1.0,2.5,4\n", "utf-8")
    with pytest.raises(ValueError, match=r"^column `a` of .*t\.csv holds .* in row 2 among numbers"):
        open_source(path)


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("# time a b", ["time", "a", "b"]),
        ("# measured in May\n# time, a, b", ["time", "a", "b"]),
        ("# 1 2 3", ["column_0", "column_1", "column_2"]),  # numbers name nothing
        ("# time a", ["column_0", "column_1", "column_2"]),
        ("# measured in Berlin", ["column_0", "column_1", "column_2"]),  # as many words as columns are a note
        ("# pump was off", ["column_0", "column_1", "column_2"]),
        ("# three heated rods.", ["column_0", "column_1", "column_2"]),
        ("# time a a", ["column_0", "column_1", "column_2"]),
    ],
)
def test_names_in_the_comment_above_the_numbers(head, names, tmp_path):
    """As ``numpy.savetxt`` writes them; a comment that names other columns than there are names none."""
    np.savetxt(tmp_path / "a.txt", np.c_[T, U[0, :, :2]])
    (tmp_path / "a.txt").write_text(f"{head}\n{(tmp_path / 'a.txt').read_text()}")
    found = open_source(tmp_path / "a.txt")
    assert sorted(map(str, found.variables)) == sorted(names)
    if "time" in names:
        assert np.allclose(found.a, U[0, :, 0])
        assert np.allclose(found.time, T)


def test_the_numbers_of_rows_that_pandas_writes_are_no_variable(tmp_path):
    """A first column without a name that counts rows; one that does not is kept."""
    table = pd.DataFrame({"time": T, "u": U[0, :, 0], "v": U[0, :, 1]})
    table.to_csv(tmp_path / "a.csv")
    assert list(open_source(tmp_path / "a.csv").data_vars) == ["u", "v"]
    table.set_axis([3, 1, 4, 1, 5]).to_csv(tmp_path / "a.csv")
    assert len(open_source(tmp_path / "a.csv").data_vars) == 3


@pytest.mark.parametrize("clock", ["time", "date"])
def test_a_temperature_beside_times_is_no_time(clock, tmp_path):
    times = ["0", "10", "20"] if clock == "time" else ["2024-01-01", "2024-01-02", "2024-01-03"]
    for values in ("5", "1", "3"), ("1", "2", "4"):
        rows = "\n".join(f"{t},{v}" for t, v in zip(times, values, strict=True))
        (tmp_path / "t.csv").write_text(f"{clock},T\n{rows}\n")
        states = read_states(tmp_path / "t.csv")
        assert state_array(states).ravel().tolist() == [float(v) for v in values]
        assert states.time.values.tolist() == ([0, 10, 20] if clock == "time" else [0, 1, 2])


def test_units_in_brackets_are_units(tmp_path):
    (tmp_path / "u.csv").write_text("t [ms],speed [m/s],heat (W),u[0]\n0,1,2,3\n5,4,5,6\n")
    states = read_states(tmp_path / "u.csv")
    assert {n: v.attrs.get("units") for n, v in states.data_vars.items()} == {
        "speed [m/s]": "m/s",
        "heat (W)": "W",
        "u[0]": None,
    }
    assert states.time.values.tolist() == [0, 5]
    assert states.time.attrs["units"] == "ms"


def test_a_date_and_a_time_of_the_day_are_one_column(tmp_path):
    (tmp_path / "t.csv").write_text("Date,Time,x\n2024-01-01,22:00,1\n2024-01-01,23:00,2\n2024-01-02,01:00,3\n")
    assert read_states(tmp_path / "t.csv").time.values.tolist() == [0, 1, 3]
    (tmp_path / "u.csv").write_text("Date,Time,x,y\n,,m,K\n2024-01-01,22:00,1,2\n2024-01-01,23:00,3,4\n")
    assert {n: v.attrs["units"] for n, v in read_states(tmp_path / "u.csv").data_vars.items()} == {"x": "m", "y": "K"}


def test_decimal_commas_in_quotes_and_dashes_for_missing_numbers(tmp_path):
    (tmp_path / "t.csv").write_text('time,x\n0,"1003,37"\n1,"-996,5"\n2,---\n')
    found = state_array(read_states(tmp_path / "t.csv")).ravel()
    assert found[:2].tolist() == [1003.37, -996.5]
    assert np.isnan(found[2])
    assert "commas in `x` are read as decimal points" in read_states(tmp_path / "t.csv").attrs["notes"]
    (tmp_path / "k.csv").write_text('time,x\n0,"1,234"\n1,"12,500"\n')  # may be thousands
    with pytest.raises(ValueError, match="holds no arrays of numbers, but x"):
        read_states(tmp_path / "k.csv")


def tracks(tmp_path, rows):
    text = "frame,id,x,y,mass\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows)
    (tmp_path / "t.csv").write_text(text)
    return tmp_path / "t.csv"


def test_tracks_with_a_row_for_each_particle(tmp_path):
    r = np.random.default_rng(0).normal(size=(4, 3, 2)).round(3)
    rows = [(i, 7 - p, *r[i, p], 1) for i in range(4) for p in np.random.default_rng(i).permutation(3)]
    states = read_states(tracks(tmp_path, rows))
    assert states["position"].dims == ("time", "particle", "component")
    assert np.array_equal(state_array(states)[0], r[:, ::-1])  # in the order of their numbers: 5, 6, 7
    assert "left out: mass (states of particles are their positions)" in states.attrs["notes"]
    with pytest.raises(ValueError, match=r"id 6 of .* is seen at 3 of 4 times; give times at which all are seen"):
        read_states(tracks(tmp_path, [row for row in rows if row[:2] != (2, 6)]))
    with pytest.raises(ValueError, match="holds id 5 twice at frame 1, in row 13; leave one out"):
        read_states(tracks(tmp_path, [*rows, (1, 5, 0, 0, 1)]))
    with pytest.raises(ValueError, match="does not say frame and id in row 13; fill both in"):
        read_states(tracks(tmp_path, [*rows, (1, "", 0, 0, 1)]))
    path = tracks(tmp_path, rows)
    path.write_text(path.read_text().replace("frame,id,x,y", "t [ms],id,x [um],y [um]"))
    states = read_states(path)
    assert (states["position"].attrs["units"], states.time.attrs["units"]) == ("um", "ms")


ROWS = "time,level\n0,1.5\n1,1.75\n2,1.25\n"


@pytest.mark.parametrize(
    "above",
    ["Station: Oslo, harbour, pier\nHeight: 3 m\n\n", "Logger X200\n", "made 2020-01-01; by hand\n", "Serial,12,x\n"],
)
def test_lines_of_words_above_a_table_are_left_out(above, tmp_path):
    (tmp_path / "a.csv").write_text(above + ROWS)
    found = open_source(tmp_path / "a.csv")
    assert found.level.values.tolist() == [1.5, 1.75, 1.25]
    assert found.time.values.tolist() == [0, 1, 2]
    assert found.attrs["read_notes"] == [
        f"the table begins in line {above.count(chr(10)) + 1}: those above it are left out"
    ]
    (tmp_path / "b.csv").write_text(above + ROWS.replace("\n0", "\ns,m\n0", 1))
    found = open_source(tmp_path / "b.csv")
    assert (found.time.attrs["units"], found.level.attrs["units"]) == ("s", "m")


def test_names_without_that_of_the_rows_are_no_words_above_a_table(tmp_path):
    """As R writes tables."""
    (tmp_path / "a.txt").write_text('"time" "u"\n"1" 0 1.5\n"2" 1 2.5\n"3" 2 3.5\n')
    assert open_source(tmp_path / "a.txt").u.values.tolist() == [1.5, 2.5, 3.5]


def test_rows_whose_last_numbers_are_missing_are_no_words_above_a_table(tmp_path):
    days = [f"2020-01-0{i}" for i in range(1, 7)]
    rows = [f"{day},{i},{'' if i < 2 else i}" for i, day in enumerate(days)]
    (tmp_path / "a.csv").write_text("\n".join(["date,u,v", *rows]))
    found = open_source(tmp_path / "a.csv")
    assert found.u.values.tolist() == list(range(6))
    assert np.isnan(found.v.values).tolist() == [True] * 2 + [False] * 4


@pytest.mark.parametrize("damaged", ["0,1.5\n1,1.5,3\n2,1.5,3\n3,1,1\n", "u,v\n0,1.5\n1,1.5,3\n2,1.5,3\n3,1,1\n"])
def test_rows_of_numbers_are_never_left_out(damaged, tmp_path):
    (tmp_path / "a.csv").write_text(damaged)
    with pytest.raises(ValueError, match="has 3 columns, the lines before it 2"):
        open_source(tmp_path / "a.csv")


ABOVE_SHEETS = [
    "Station: Oslo,\nSerial,123\n,\n",  # a sheet that was exported: every line has all commas
    "Oslo,3\n",
    "Oslo,1.5\nSerial,12\n",
    '"Oslo\nharbour"\n',
    '"Oslo, harbour",north\n',
]


@pytest.mark.parametrize("above", ABOVE_SHEETS)
def test_lines_of_as_many_cells_as_the_table_are_not_its_names(above, tmp_path):
    (tmp_path / "a.csv").write_text(above + ROWS)
    found = open_source(tmp_path / "a.csv")
    assert found.level.values.tolist() == [1.5, 1.75, 1.25]
    assert found.time.values.tolist() == [0, 1, 2]


def test_what_loggers_write_under_the_units_is_no_row(tmp_path):
    head = '"TOA5","CR1000","123"\n"TIMESTAMP","RECORD","level"\n"TS","RN","m"\n"","","Avg"\n'
    rows = "".join(f'"2020-01-01 0{i}:00:00",{i + 1},{i + 1.5}\n' for i in range(5))
    (tmp_path / "a.dat.csv").write_text(head + rows)
    found = open_source(tmp_path / "a.dat.csv")
    assert found.level.values.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5]
    assert found.level.attrs["units"] == "m"


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("above", ["", "Station: Oslo\n"])
def test_dates_above_a_damaged_row_are_never_left_out(above, at, tmp_path):
    rows = [f"2020-01-{i + 1:02} 00:00,{i},{i + 0.5}" for i in range(8)]
    rows[at] += ",9"
    (tmp_path / "a.csv").write_text("\n".join([f"{above}time,u,v", *rows]))
    with pytest.raises(ValueError, match="has 4 columns"):
        open_source(tmp_path / "a.csv")


def test_a_comma_at_the_end_of_rows_alone_moves_no_names(tmp_path):
    (tmp_path / "a.csv").write_text("time,u,v\n0,1,2,\n1,3,4,\n2,5,6,\n")
    found = open_source(tmp_path / "a.csv")
    assert [found[name].values.tolist() for name in ("time", "u", "v")] == [[0, 1, 2], [1, 3, 5], [2, 4, 6]]


def test_a_first_column_without_a_name_is_kept_or_told(tmp_path):
    (tmp_path / "times.csv").write_text("u,v\n0.0,1,2\n0.5,3,4\n1.0,5,6\n")
    assert open_source(tmp_path / "times.csv").column_0.values.tolist() == [0, 0.5, 1]
    (tmp_path / "dates.csv").write_text("u,v\n2020-01-01,1,2\n2020-01-02,3,4\n2020-01-03,5,6\n")
    found = open_source(tmp_path / "dates.csv")
    assert found.u.values.tolist() == [1, 3, 5]
    assert found.attrs["read_notes"] == ["the first column has no name and is left out"]
    (tmp_path / "two.csv").write_text("u,v\n0,1,2,3\n")
    with pytest.raises(ValueError, match="first row has 4 columns, the line of names 2"):
        open_source(tmp_path / "two.csv")


def test_words_and_blanks_among_times_are_told(tmp_path):
    (tmp_path / "word.csv").write_text("time,u\n0,1\n1,2\nsensor failure,\n2,3\n")
    with pytest.raises(ValueError, match=r"`time` of .* holds 'sensor failure' in row 3 among numbers"):
        open_source(tmp_path / "word.csv")
    (tmp_path / "blank.csv").write_text("time,u\n2020-01-01,1\n,2\n2020-01-03,3\n")
    assert open_source(tmp_path / "blank.csv").u.values.tolist() == [1, 2, 3]
