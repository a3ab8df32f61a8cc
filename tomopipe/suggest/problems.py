"""What is wrong or doubtful with a data set, each with what to do about it."""

from __future__ import annotations

from tomopipe.suggest.seen import Seen

FEW_PARTICLES = 500
_SAME_PIXEL = 1.002  # as `tomopipe prepare` allows
_FEW_TILTS = 4
_LARGE_BOX = 160
_MANY_DROPPED = 0.1  # of the particles
_STACK_DOSE = (
    "put the .mdoc with the doses beside the alignment, or set, in `read:` of the tilt series, "
    "dose_per_tilt with exposure_list or, if the sections stand in the order of exposure, with "
    "exposure_order: sections"
)
_DOSE_OF_SERIES = {  # what gives the tilts of a program their dose
    "imod": _STACK_DOSE,
    "aretomo": _STACK_DOSE,
    "relion5": "give tilt series whose STAR files have rlnMicrographPreExposure",
    "warptools": "import them into WarpTools again with their dose (ts_import --tilt_exposure)",
}


def problems(seen: Seen) -> list[str]:
    """One sentence for each problem, the worst first."""
    found = [*_stops(seen), *_doubts(seen)]
    return [text for wrong, text in found if wrong]


def _stops(seen: Seen) -> list[tuple[bool, str]]:
    low, high = seen.pixel_size
    return [
        (
            high > _SAME_PIXEL * low,
            f"pixel sizes from {low:.4g} to {high:.4g} Å: `prepare` will refuse this, because one "
            "data set has one pixel size; extract at one (--tilt-series), or write a STAR file for "
            "each optics group and make each a data set; --pixel-size-angstrom overrides all, "
            "where they are really equal",
        ),
    ]


def _doubts(seen: Seen) -> list[tuple[bool, str]]:
    one_tilt = seen.tilts[2] == 1
    cut = seen.series_pixel is not None
    return [
        (
            seen.no_ctf > 0,
            f"no CTF for {'all' if seen.no_ctf == seen.images else f'{seen.no_ctf:,}'} images: "
            "they are taken as they are, which blurs the map beyond the first zero of the CTF; "
            "give the STAR file with rlnDefocusU/V",
        ),
        (
            seen.dose is None and not one_tilt,
            "no dose: late tilts weigh as much as early ones, and all frequencies are kept; "
            + (
                _DOSE_OF_SERIES[seen.program]
                if cut
                else "set import: {dose_per_tilt: …} if the file has exposures, or give a STAR "
                "file with them"
            ),
        ),
        (
            seen.dropped > _MANY_DROPPED * seen.rows,
            f"{seen.dropped:,} of {seen.rows:,} particles will be dropped, since too few tilt "
            f"images hold a box of {seen.box} pixels around them: check the coordinates and the "
            "alignment, or give a smaller --diameter-angstrom",
        ),
        (
            seen.particles < FEW_PARTICLES,
            f"only {seen.particles:,} particles: enough for a map and to try the steps, but not to "
            "tell rare states apart; take differences between clusters with care",
        ),
        (
            one_tilt,
            "one image per particle: nothing can be said about held-out tilts; if these are tilt "
            "series, name the program that wrote them: import: {dialect: …}",
        ),
        (
            seen.tilts[2] > 1 and seen.tilts[1] < _FEW_TILTS,
            f"only {seen.tilts[1]:g} tilts of a particle: it is hardly seen from the side; check "
            + (
                "that the alignment has all tilts, or give a smaller --diameter-angstrom, for a "
                "box that more tilt images hold"
                if cut
                else "that the STAR file names all tilts"
            ),
        ),
        (
            0 < seen.premultiplied < 1,
            f"{seen.premultiplied:.0%} of the images are CTF-premultiplied, others not: that is "
            "read from each optics group; check that the STAR file is right",
        ),
        (
            seen.box > _LARGE_BOX,
            f"box {seen.box}: time and memory grow with its cube; find the junk in a smaller box "
            "at a coarser pixel size first",
        ),
    ]
