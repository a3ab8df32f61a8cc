"""Of a folder of tilt series the files that their reader looks at make the stamp, and no others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tomopipe.lineage.watched import Watch

STAR = "data_global\nloop_\n_rlnTomoTiltSeriesStarFile #1\n"
# folders: what their reader looks at, and what lies beside
KNOWN: dict[str, tuple[dict[str, str], list[str]]] = {
    "warptools": (
        {"tomostar/TS_1.tomostar": "", "warp_tiltseries/TS_1.xml": "<TiltSeries/>"},
        ["warp_frameseries/TS_1_001.xml", "relion/run_data.star", "mdocs/TS_9.mdoc", "notes.txt"],
    ),
    "XML alone": ({"TS_1.xml": "<TiltSeries/>"}, ["movie.xml", "relion/run_data.star"]),
    "relion5": (
        {"tomograms.star": f"{STAR}tilt_series/TS_1.star\n", "tilt_series/TS_1.star": "data_"},
        ["job.star", "tilt_series/TS_9.star", "note.txt"],
    ),
    "imod": (
        {f"TS_1/TS_1{end}": "" for end in (".xf", ".tlt", ".rawtlt", ".xtilt", ".defocus")}
        | {"TS_1/tilt.com": "", "TS_1.mrc.mdoc": ""},
        ["TS_1/align.com", "TS_1/TS_1_fid.xf", "TS_1/tilta.com", "log.txt"],
    ),
    "aretomo": (
        {"TS_1.st.aln": "", "TS_1_CTF.txt": "", "TS_1.st.mdoc": "", "TS_1.csv": ""},
        ["other_CTF.txt", "TS_1_shifts.txt", "relion/run_data.star"],
    ),
}


@pytest.mark.parametrize("form", KNOWN)
def test_what_a_reader_does_not_look_at_changes_nothing(form: str, tmp_path: Path) -> None:
    folder, (read, beside) = tmp_path / "aligned", KNOWN[form]

    def stamp() -> str:
        return Watch(tmp_path / "memory.json", print).stamp([folder], tmp_path / "made")

    for name, text in read.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    before = stamp()
    for name in beside:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("another job\n")
    assert stamp() == before
    for name, text in read.items():
        (folder / name).write_text(text + "\n\n")
        assert stamp() != before, name
        (folder / name).write_text(text + "\n")
    assert stamp() == before


@pytest.mark.parametrize("names", [["a.csv", "b.csv"], ["1/a.aln", "2/a.aln", "c.txt"]])
def test_where_no_series_are_known_all_texts_count(names: list[str], tmp_path: Path) -> None:
    """Lists of exposures; alignments that the reader refuses."""
    seen = set()
    for name in names:
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_text("1\n")
        watch = Watch(tmp_path / "memory.json", print)
        seen.add(watch.stamp([tmp_path / "all"], tmp_path / "made"))
    assert len(seen) == len(names)


def test_a_plan_imports_nothing_that_is_slow() -> None:
    script = "import json, sys, tomopipe.lineage.watched; print(json.dumps(list(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not {"numpy", "pandas", "scipy", "torch"} & set(json.loads(found.stdout))
