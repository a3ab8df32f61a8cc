"""The config that is suggested, as commented YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomopipe.suggest.problems import problems
from tomopipe.suggest.seen import Seen
from tomopipe.suggest.series import Cut

_WIDER = 2  # box of the surroundings over that of the particle, at a pixel size as much coarser
_LEAST_BOX = 32
# what STAR files are called in any project
_COMMON = {"particles", "optimisation_set", "run_data", "run", "data", "matching"}
_FEW = 100  # particles that no neighbourhood graph, and no second look, is worth it for


@dataclass(frozen=True)
class Run:
    """What a config is written for.

    Attributes
    ----------
    results
        Folder of the results.
    imports
        Settings of the import that were given as flags.
    cut
        How images are to be cut; None for particles with images.
    schema
        Path of the schema from the config's folder; empty = none.
    gpu
        Whether this machine has a GPU.
    """

    results: str
    imports: Mapping[str, Any]
    cut: Cut | None
    schema: str
    gpu: bool


def config_text(seen: Seen, run: Run) -> str:
    """A config with a pilot and a clean branch, and further ones in comments.

    A line that begins with `#` and two blanks or a letter is a part of a config: it counts when its
    `#` is taken away.
    """
    name = f"box{seen.box}"
    parts = [
        _head(seen, run),
        *([_tilt_series(run.cut)] if run.cut else []),
        _dataset(name, seen, run),
        _branches(name, seen),
        _neural(run.gpu),
        _around(seen),
    ]
    return "\n".join(parts)


def default_results(star: Path) -> str:
    """Folder for the results of particles in `star`.

    The folders above it name it too where many a project has a file of that name, or has results.
    """
    name = star.stem.removesuffix("_optimisation_set")
    for folder in star.absolute().parents:
        if name.lower() not in _COMMON and not Path(_results(name)).exists():
            break
        name = f"{folder.name}_{name}"
    return _results(name)


def _results(name: str) -> str:
    return f"results/{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}"


def _head(seen: Seen, run: Run) -> str:
    schema = f"# yaml-language-server: $schema={run.schema}\n" if run.schema else ""
    doubts = "".join(f"# Problem: {text}.\n" for text in problems(seen))
    return (
        f"{schema}# Written by `tomopipe init`. Run it with `snakemake --configfile THIS_FILE`\n"
        "# (-n: the plan), open report.html in the results, then take away the `#` before\n"
        "# what you want next.\n"
        f"{doubts}"
        f"title: {_text(seen.star.stem)}\nresults: {_text(run.results)}\n"
    )


def _tilt_series(cut: Cut) -> str:
    read = cut.read.model_dump(mode="json", exclude_unset=True)
    how = f", read: {json.dumps(read, ensure_ascii=False)}" if read else ""
    return f"tilt_series:\n  series: {{path: {_text(cut.tilt_series)}{how}}}\n"


def _dataset(name: str, seen: Seen, run: Run) -> str:
    about = (
        f"{seen.particles:,} particles, tomograms: {seen.tomograms:,}, box {seen.box} at "
        f"{seen.pixel_size[0]:.4g} Å"
    )
    lines = ["datasets:", f"  {name}:", f"    about: {_text(about)}"]
    if run.cut is None:
        lines.append(f"    particles: {_text(seen.star)}")
    else:
        lines.append(f"    extract: {_extract(seen, run.cut, seen.box, seen.pixel_size[0])}")
    if run.imports:
        lines.append(f"    import: {_flow(run.imports)}")
    contrast = (
        "whether protein is bright or dark is measured; import: {contrast: dark} says it"
        if run.cut is None
        else "protein is taken as dark in the tilt images; contrast: bright in extract changes it"
    )
    lines += [
        f"    # {contrast}.",
        "    # import: {hand: mirror} turns maps of the wrong hand into the right one.",
    ]
    return "\n".join([*lines, *_wide(seen, run)]) + "\n"


def _extract(seen: Seen, cut: Cut, box: int, pixel: float, keep: str | None = None) -> str:
    values: dict[str, Any] = {
        "tilt_series": "series",
        "particles": str(seen.star),
        "box": box,
        "pixel_size_angstrom": round(pixel, 4),
    }
    if cut.coordinates_pixel_size is not None:
        values["coordinates_pixel_size_angstrom"] = cut.coordinates_pixel_size
    return _flow(values | ({"keep": keep} if keep else {}))


def _wide(seen: Seen, run: Run) -> list[str]:
    """The same particles with their surroundings, in comments."""
    if not seen.placed:
        return ["  # Several scales need particles with 3D coordinates in tomograms: not here."]
    lines = ["  # Several scales: the kept particles, cut again with what lies around them."]
    cut = run.cut
    if cut is None:
        lines.append("  # It needs the tilt series: tilt_series too, and branch around below.")
        # the matrices of WarpTools' own tomograms.star have no shifts to cut images with
        warp = seen.program == "warptools"
        cut = Cut(Path("PATH/TO") / ("WarpTools_project" if warp else "tomograms.star"))
    box, pixel = max(seen.box, _LEAST_BOX), seen.pixel_size[0] * _WIDER
    lines += ["#  wide:", f"#    extract: {_extract(seen, cut, box, pixel, keep='clean')}"]
    if run.cut is None:
        lines += ["#tilt_series:", f"#  series: {{path: {_text(cut.tilt_series)}}}"]
    return lines


def _branches(name: str, seen: Seen) -> str:
    few = seen.particles < _FEW
    analysis = "{umap: false}" if few else "{}"
    return f"""branches:
  pilot: # all particles with the default models: a map, clusters, and the junk among them
    dataset: {name}
    consensus: {{}}
    fit: {{}}         # the linear model; a network too where there is a GPU and it predicts better
    analysis: {analysis}    # as many clusters as the data tell apart
    junk: {{}}

  clean: # what the pilot did not call junk; its selection.yaml can be edited
    parent: pilot
    select: {{junk: auto}}
    consensus: {{}}
    fit: {{}}
    analysis: {analysis}
    junk: {{}}
"""


def _neural(gpu: bool) -> str:
    why = "this machine has one" if gpu else "this machine has none"
    return f"""  # A longer neural training, for continuous motion; worth it on a GPU ({why}).
#  neural:
#    parent: clean
#    select: {{junk: auto}}
#    consensus: {{}}
#    linear: {{components: 10}}    # a warm start for the network, and what it has to beat
#    heterogeneous: {{zdim: 8, epochs: 30}}
#    analysis: {{clusters: 20}}
"""


def _around(seen: Seen) -> str:
    if not seen.placed:
        return ""
    diameter = round(0.9 * max(seen.box, _LEAST_BOX) * seen.pixel_size[0] * _WIDER)
    return f"""  # Several scales: who has neighbours, who sits on a membrane; so the mask is wide.
#  around:
#    parent: clean
#    dataset: wide
#    select: {{all: true}}
#    consensus: {{}}
#    linear: {{mask_diameter_angstrom: {diameter}}}
#    analysis: {{}}
"""


def _flow(values: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_text(value)}" for key, value in values.items()) + "}"


def _text(value: Any) -> str:
    """A value in YAML: JSON's strings are YAML's, but words need no quotes."""
    if isinstance(value, Path | str):
        text = str(value)
        plain = re.fullmatch(r"[A-Za-z_./][A-Za-z0-9_./-]*", text)
        reserved = text.lower() in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
        return text if plain and not reserved else json.dumps(text, ensure_ascii=False)
    return json.dumps(value)
