"""No verb writes over what it reads, over a file of another kind, or over an older file unasked."""

import json
import os
import stat

import pytest
from kill_cases import content

from physinv.cli import app as cli
from physinv.config.outputs.locks import lock_file

MADE = (
    "generate ornstein-uhlenbeck --out {0} --train 40 --valid 20 --test 4 --set dim=2 --set steps=2",
    "train {0}/ornstein-uhlenbeck --out {0}/run --method linear --steps 1",
    "reconstruct {0}/run --data {0}/ornstein-uhlenbeck/data/test --out {0}/r.hdf5 --samples 3",
    "evaluate {0}/r.hdf5 --json {0}/t.json",
)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    for words in MADE:
        cli.main(words.format(folder).split())
    (folder / "thesis.tex").write_text("all of it")
    (folder / "photo.png").write_bytes(b"\x89PNG of mine")
    (folder / "ranks.png").write_bytes(b"\x89PNG of mine")
    (folder / "notes.pdf").write_text("words")
    (folder / "r.png").hardlink_to(folder / "r.hdf5")
    (folder / "mine" / "report.html").parent.mkdir()
    (folder / "mine" / "report.html").write_text("mine")
    (folder / "hard.json").hardlink_to(folder / "r.hdf5")
    (folder / "soft.json").symlink_to(folder / "r.hdf5")
    return folder


DATA = "{0}/ornstein-uhlenbeck/data/test"
SHARD = DATA + "/ornstein-uhlenbeck_000.hdf5"
RECONSTRUCT = "reconstruct {0}/run --overwrite --data "
REFUSED = {
    "the same name": ("evaluate {0}/r.hdf5 --overwrite --json {0}/r.hdf5", "`--json` must not be what is read"),
    "a hard link": ("evaluate {0}/r.hdf5 --overwrite --json {0}/hard.json", "`--json` must not be what is read"),
    "a soft link": ("evaluate {0}/r.hdf5 --overwrite --json {0}/soft.json", "`--json` must not be what is read"),
    "an older table": ("evaluate {0}/r.hdf5 --json {0}/t.json", "t.json exists; choose another --json, or add"),
    "another file": (
        "evaluate {0}/r.hdf5 --overwrite --json {0}/thesis.tex",
        "is no table, and is not replaced",
    ),
    "what is drawn": ("info {0}/r.hdf5 --overwrite --plot {0}/r.png", "`--plot` must not be what is read"),
    "a picture": ("info {0}/r.hdf5 --plot {0}/photo.png", "photo.png exists; choose another --plot, or add"),
    "one of several pictures": ("evaluate {0}/r.hdf5 --plots {0}", "ranks.png exists; choose another --plots, or add"),
    "no picture": ("info {0}/r.hdf5 --overwrite --plot {0}/notes.pdf", "notes.pdf is no figure, and is not replaced"),
    "a demonstration": ("demo --out {0}", "{0} holds files that no demonstration wrote; choose another `--out`"),
    "a report": (
        "benchmark heat --quick --out {0}/mine",
        "report.html is not of a benchmark, and is not",
    ),
    "the data": (RECONSTRUCT + SHARD + " --out " + SHARD, "`out` must not be what is read"),
    "in the data": (RECONSTRUCT + DATA + " --out " + DATA + "/x.hdf5", "`out` must not lie in {0}"),
    "a file of the data": (RECONSTRUCT + DATA + " --out " + SHARD, "`out` must not be what is read"),
    "other trajectories": (
        RECONSTRUCT + DATA + " --out {0}/ornstein-uhlenbeck/data/train/ornstein-uhlenbeck_000.hdf5",
        "is no reconstruction, and is not replaced by one",
    ),
    "the weights": (RECONSTRUCT + DATA + " --out {0}/run/model.safetensors", "is no reconstruction"),
    "a run in its data": (
        "train {0}/ornstein-uhlenbeck --method linear --overwrite --out {0}/ornstein-uhlenbeck",
        "`--out` must not be the folder of the data",
    ),
    "a run among files of data": (
        "train {0}/ornstein-uhlenbeck --method linear --out {0}/ornstein-uhlenbeck/data/run",
        "`--out` must not lie in {0}",
    ),
    "a thesis": (RECONSTRUCT + DATA + " --out {0}/thesis.tex", "is no reconstruction"),
    "an older one": (RECONSTRUCT.replace("--overwrite ", "") + DATA + " --out {0}/r.hdf5", "r.hdf5 exists; choose"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_output_that_would_cost_something_is_refused(case, system, capsys):
    words, expected = REFUSED[case]
    before = content(system)
    with pytest.raises(SystemExit) as stop:
        cli.main(words.format(system).split())
    err = " ".join(capsys.readouterr().err.split("\n")).strip()
    assert stop.value.code == 2
    assert expected.format(system) in err
    assert content(system) == before


def test_what_may_be_replaced_is(system, tmp_path):
    out, table = tmp_path / "r.hdf5", tmp_path / "t.json"
    out.write_bytes((system / "r.hdf5").read_bytes()[:-100])  # a damaged one
    table.write_text("{}")
    cli.main(f"{MADE[2].format(system)} --overwrite".replace(f"{system}/r.hdf5", str(out)).split())
    cli.main(f"evaluate {out} --json {table} --overwrite".split())
    assert json.loads(table.read_text())["metrics"]


def test_two_at_once_are_refused(system, capsys, tmp_path):
    for name, words in (("r.hdf5", MADE[2]), ("t.json", f"evaluate {system}/r.hdf5 --json {{0}}/t.json")):
        path = tmp_path / name
        told = words.format(system).replace(f"{system}/{name}", str(path)).split()
        with lock_file(path, "evaluate"), pytest.raises(SystemExit) as stop:
            cli.main(told)
        assert stop.value.code == 2
        assert f"{path} is being written by `physinv evaluate` (process {os.getpid()} on " in capsys.readouterr().err
        cli.main(told)
        assert path.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.hdf5", "t.json"]


@pytest.mark.skipif(os.name != "posix", reason="access rights of POSIX")
def test_files_have_the_access_rights_of_the_umask(system, tmp_path):
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            folder = tmp_path / f"{mask:o}"
            folder.mkdir()
            (folder / "plain").touch()
            cli.main(MADE[1].replace("--out {0}", f"--out {folder}").format(system).split())
            cli.main(MADE[2].replace("{0}/r.hdf5", f"{folder}/r.hdf5").format(system).split())
        finally:
            os.umask(before)
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}
        assert {"model.safetensors", "run.json", "r.hdf5"} <= modes.keys()
        assert set(modes.values()) == {modes["plain"]}


@pytest.mark.parametrize("verb", ["reconstruct {0}/run --data " + DATA, "train {0}/ornstein-uhlenbeck --method linear"])
def test_a_link_that_leads_back_to_itself_is_no_output(verb, system, tmp_path, capsys):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SystemExit) as stop:
        cli.main([*verb.format(system).split(), "--out", str(tmp_path / "loop")])
    assert stop.value.code == 2
    assert "loop is a link that leads back to itself; give another path." in capsys.readouterr().err
