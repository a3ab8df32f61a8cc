"""What `tomopipe init` says: what it saw, what it suggests and why, and what that would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tomopipe.suggest.cost import Cost
from tomopipe.suggest.problems import problems
from tomopipe.suggest.seen import Seen

_PROGRAMS = {
    "warp": "Warp or M (a row per image)",
    "warptools": "WarpTools (a row per particle)",
    "relion5": "RELION-5 (a row per particle)",
    "relion31": "RELION 3.1 or later (a row per image)",
    "nextpyp": "nextPYP",
    "cryosrpnt": "cryoSRPNT",
    "cistem": "cisTEM",
    "single": "a single-particle program",
    "imod": "IMOD",
    "aretomo": "AreTomo",
}


def report(seen: Seen, costs: Sequence[Cost], cores: int, *, gpu: bool) -> str:
    """The whole text, several lines."""
    blocks = [_seen(seen), _problems(seen), _suggested(seen, gpu=gpu), _costs(seen, costs, cores)]
    return "\n\n".join(block for block in blocks if block)


def _seen(seen: Seen) -> str:
    cut = seen.series_pixel is not None
    program = _PROGRAMS[seen.program]
    if cut:
        program = f"{program.partition(' (')[0]} (tilt series)"
    few, median, most = seen.tilts
    low, high = seen.pixel_size
    pixel = f"{low:.4g}" if high <= 1.002 * low else f"{low:.4g} to {high:.4g}"
    lines = [
        ("written by", program),
        ("particles", f"{seen.particles:,} in {_count(seen.tomograms, 'tomogram')}{_left(seen)}"),
        ("images", f"{seen.images:,}"),
        ("tilts", f"{few} to {most} of a particle, {median:g} in the middle"),
        ("box, pixel size", f"{seen.box} pixels of {pixel} Å{_suggestion(seen)}"),
        ("dose", _dose(seen)),
        ("defocus", _defocus(seen)),
        ("CTF-premultiplied", _share(seen.premultiplied)),
        ("dose-weighted", _share(seen.dose_weighted)),
        ("protein", "taken as dark" if cut else "bright or dark: measured at import"),
        ("half-sets", "given" if seen.halves else "not given: drawn at random, per tomogram"),
    ]
    missing = _missing(seen)
    if missing:
        lines.append(("not in the file", missing))
    return "Seen\n" + "\n".join(f"  {name:<18} {text}" for name, text in lines)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _left(seen: Seen) -> str:
    return f"; {seen.dropped:,} more: too few tilts hold the box" if seen.dropped else ""


def _suggestion(seen: Seen) -> str:
    if seen.series_pixel is None:
        return ""
    return (
        f", suggested (tilt images have {seen.series_pixel:.4g} Å); "
        "1.5 diameters of the particle make a good box"
    )


def _dose(seen: Seen) -> str:
    return f"{seen.dose[0]:.3g} to {seen.dose[1]:.3g} e/Å²" if seen.dose else "none"


def _defocus(seen: Seen) -> str:
    if seen.defocus is None:
        return "none"
    return f"{seen.defocus[0] / 1e4:.2f} to {seen.defocus[1] / 1e4:.2f} µm"


def _share(share: float) -> str:
    return {0.0: "no", 1.0: "yes"}.get(share, f"{share:.0%} of the images")


def _missing(seen: Seen) -> str:
    missing = {
        "dose": seen.dose is None,
        "CTF": seen.no_ctf == seen.images,
        "3D coordinates": not seen.placed,
    }
    return ", ".join(name for name, absent in missing.items() if absent)


def _problems(seen: Seen) -> str:
    found = problems(seen)
    return "Problems\n" + "\n".join(f"  - {text}" for text in found) if found else ""


def _suggested(seen: Seen, *, gpu: bool) -> str:
    neural = "there is one here" if gpu else "none was found here"
    scales = (
        "wide, around: in comments; the kept particles cut again with their surroundings"
        if seen.placed
        else "several scales: not with this file, which has no coordinates that could be cut"
    )
    return "\n".join(
        [
            "Suggested",
            "  pilot: all particles, default models; a map to check, clusters, the junk among them",
            "  clean: what the pilot did not call junk, analysed anew, because junk hides states",
            f"  neural: in comments; for continuous motion, where a GPU is worth it ({neural})",
            f"  {scales}",
        ]
    )


def _costs(seen: Seen, costs: Sequence[Cost], cores: int) -> str:
    header = f"  {'stage':<26} {'one core':>10} {_cores(cores):>10} {'memory':>9} {'disk':>9}"
    rows = [
        f"  {cost.stage:<26} {_time(cost.seconds):>10} {_time(cost.cores_seconds):>10} "
        f"{_size(cost.memory_gb):>9} {_size(cost.disk_gb) if cost.disk_gb else '-':>9}"
        for cost in costs
    ]
    head = (
        f"Rough cost: {seen.coefficients:,} coefficients inside the dose mask, slopes of "
        "docs/benchmarks/cost.md"
    )
    foot = (
        "  Scaled from small sets on a CPU, for all particles; time shared evenly among the cores\n"
        "  of a step (8 at most; extract has 1, and `jobs` shares its tomograms). Clusters, junk,\n"
        "  export and report are not in it: minutes for a few thousand."
    )
    return "\n".join([head, header, *rows, foot])


def _cores(cores: int) -> str:
    return f"{cores} core{'s' * (cores != 1)}"


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return "-"
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"


def _size(gb: float) -> str:
    return f"{gb:.1f} GB" if gb >= 0.1 else f"{max(1, round(gb * 1000))} MB"
