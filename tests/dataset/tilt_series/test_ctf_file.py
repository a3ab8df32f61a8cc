"""`ctf` that is one file is of one tilt series."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.dataset.tilt_series.series import placed, tilt_series
from tomopipe.config.tilt_series import TiltSeriesSettings
from tomopipe.dataset.tilt_series.read import read_tilt_series
from tomopipe.errors import InputError

TILTS = [(0.0, angle, 84.0, 30.0, -20.0) for angle in (-30.0, 0.0, 30.0)]


@pytest.mark.parametrize(
    ("form", "one", "file"),
    [("imod", "tomo_1", "tomo_1/tomo_1.defocus"), ("aretomo", "tomo_1.aln", "tomo_1_CTF.txt")],
)
def test_one_file_is_not_for_two(
    tmp_path: Path, form: Literal["imod", "aretomo"], one: str, file: str
) -> None:
    for name in ("tomo_1", "tomo_2"):
        placed(tmp_path / "all", replace(tilt_series(TILTS), name=name), form)
    ctf = tmp_path / "ctf" / Path(file).name
    ctf.parent.mkdir()
    shutil.move(tmp_path / "all" / file, ctf)
    settings = TiltSeriesSettings(ctf=ctf)
    # a job of one tomogram would not see the other
    for names in (None, {"tomo_1"}):
        with pytest.raises(InputError, match=rf"{ctf.name} is the file of one .* has 2: set ctf"):
            read_tilt_series(tmp_path / "all", settings, names)
    assert list(read_tilt_series(tmp_path / "all" / one, settings)) == ["tomo_1"]
    folder = TiltSeriesSettings(ctf=ctf.parent)
    assert list(read_tilt_series(tmp_path / "all", folder, {"tomo_1"})) == ["tomo_1"]
