"""Tilt images of known particles, made from closed forms without any code of the extraction.

A particle is a sum of Gaussian blobs. The transform of its image at sub-pixel place is known in
closed form; it is multiplied by the particle's own CTF, written out here, and the inverse
transform of the sum over particles is the tilt image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import mrcfile
import numpy as np

from tomopipe.dataset.tilt_series.geometry import TiltImage, TiltSeries

WIDTH = 9.0  # Å of a blob
PIXEL, SIZE = 3.1, (480, 450)
# deep underfocus: the first ring of the CTF lies within the band of the blobs
DEFOCUS = np.array([32000.0, 31000.0, 33000.0, 30000.0, 34000.0])


def turn(axis, degrees):
    """Right-handed active rotation about one axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def euler(rot, tilt, psi):
    """RELION's A = Rz(-psi) Ry(-tilt) Rz(-rot), object to view."""
    return turn("z", -psi) @ turn("y", -tilt) @ turn("z", -rot)


@dataclass
class World:
    """One tomogram: geometry as plain numbers, particles with their truth."""

    name: str
    angles: np.ndarray  # (F, 3) XTilt, YTilt, ZRot
    shift: np.ndarray  # (F, 2) Å
    dose: np.ndarray  # (F,)
    hand: int
    position: np.ndarray  # (n, 3) Å, where the particles are
    origin: np.ndarray  # (n, 3) Å, in the frame of the subtomogram
    sub: np.ndarray  # (n, 3) angles of the subtomogram
    pose: np.ndarray  # (n, 3) angles of the particle
    blobs: np.ndarray  # (b, 3) Å
    ctf: bool = True

    @property
    def rotation(self):
        return np.stack([turn("z", z) @ turn("y", y) @ turn("x", x) for x, y, z in self.angles])

    def coordinate(self, p):
        """Centred coordinate: the particle lies at coordinate - A_sub origin."""
        return self.position[p] + euler(*self.sub[p]) @ self.origin[p]

    def view(self, p, f):
        return self.rotation[f] @ euler(*self.sub[p]) @ euler(*self.pose[p])

    def place(self, p, f):
        """(x, y) Å of the particle from the image's centre."""
        return (self.rotation[f] @ self.position[p])[:2] + self.shift[f]

    def defocus(self, p, f):
        return DEFOCUS[f] + self.hand * (self.rotation[f] @ self.position[p])[2]

    def contrast(self, p, f, sx, sy):
        """CTF, positive at low frequency, with 1000 Å of astigmatism along 30°."""
        if not self.ctf:
            return np.ones(np.broadcast_shapes(sx.shape, sy.shape))
        volts, cs, w = 300e3, 2.7e7, 0.07
        wavelength = 12.2639 / np.sqrt(volts + 0.97845e-6 * volts**2)
        s2 = sx**2 + sy**2
        z = self.defocus(p, f) + 500 * np.cos(2 * (np.arctan2(sy, sx) - np.radians(30)))
        chi = np.pi * z * wavelength * s2 - np.pi / 2 * cs * wavelength**3 * s2**2
        return np.sin(chi + np.arcsin(w))

    def transform(self, p, f, sx, sy, centre, *, premultiplied=False):
        """Transform of a particle's bright image whose middle lies at `centre` (Å), integral."""
        seen = (self.view(p, f) @ self.blobs.T)[:2] + np.asarray(centre)[:, None]
        x, y = (np.exp(-2j * np.pi * np.outer(s, c)) for s, c in zip((sx, sy), seen, strict=True))
        sx, sy = sx[None, :], sy[:, None]
        envelope = np.exp(-2 * (np.pi * WIDTH) ** 2 * (sx**2 + sy**2))
        power = 2 if premultiplied else 1
        return (y @ x.T) * envelope * self.contrast(p, f, sx, sy) ** power

    def tilt_image(self, f):
        """Dark protein, `(ny, nx)`."""
        nx, ny = SIZE
        sx, sy = np.fft.rfftfreq(nx, PIXEL), np.fft.fftfreq(ny, PIXEL)
        middle = np.array([nx // 2, ny // 2]) * PIXEL
        total = sum(
            self.transform(p, f, sx, sy, self.place(p, f) + middle)
            for p in range(len(self.position))
        )
        return -np.fft.irfft2(total, s=(ny, nx)) / PIXEL**2

    def direct(self, p, f, box, pixel, *, offset=(0, 0), premultiplied=False):
        """What the extracted image should be: simulated in its own box, which is cut from three."""
        n = 3 * box
        s = np.fft.fftfreq(n, pixel)
        middle = np.full(2, n // 2 * pixel) + offset
        plane = self.transform(p, f, s, s, middle, premultiplied=premultiplied)
        edge = (n - box) // 2
        image = np.fft.ifft2(plane).real / pixel**2
        return image[edge : edge + box, edge : edge + box]

    def series(self, folder: Path, **given) -> TiltSeries:
        n = len(self.angles)
        path = folder / f"{self.name}.st"
        made = TiltSeries(
            name=self.name,
            images=tuple(TiltImage(path, f) for f in range(n)),
            pixel_size=PIXEL,
            image_size=SIZE,
            volume_angstrom=np.array([1300.0, 1200.0, 700.0]),
            rotation=self.rotation,
            shift_angstrom=self.shift,
            defocus_u_angstrom=DEFOCUS[:n] + 500,
            defocus_v_angstrom=DEFOCUS[:n] - 500,
            astigmatism_degrees=np.full(n, 30.0),
            phase_shift_degrees=np.zeros(n),
            dose_e_per_A2=self.dose,
            dose_per_tilt=3.0,
            hand=float(self.hand),
            voltage_kv=300.0,
            cs_mm=2.7,
            amplitude_contrast=0.07,
        )
        return replace(made, **given)

    def write_images(self, folder: Path, noise=0.0) -> None:
        rng = np.random.default_rng(5)
        images = np.stack([self.tilt_image(f) for f in range(len(self.angles))])
        images = images + noise * images.std() * rng.normal(size=images.shape) + 7.0
        folder.mkdir(parents=True, exist_ok=True)
        with mrcfile.new(folder / f"{self.name}.st", overwrite=True) as mrc:
            mrc.set_data(images.astype(np.float32))
            mrc.voxel_size = PIXEL

    def rows(self):
        """Rows of a RELION-5 particle table."""
        for p in range(len(self.position)):
            row = {"rlnTomoName": self.name, "rlnTomoParticleName": f"{self.name}/{p + 1}"}
            for k, axis in enumerate("XYZ"):
                row[f"rlnCenteredCoordinate{axis}Angst"] = self.coordinate(p)[k]
                row[f"rlnOrigin{axis}Angst"] = self.origin[p, k]
            for k, angle in enumerate(("Rot", "Tilt", "Psi")):
                row[f"rlnAngle{angle}"] = self.pose[p, k]
                row[f"rlnTomoSubtomogram{angle}"] = self.sub[p, k]
            yield row | {"rlnRandomSubset": 1 + p % 2, "rlnClassNumber": 3, "rlnOpticsGroup": 1}


def make_world(name="TS_1", seed=0, hand=-1, particles=4, ctf=True) -> World:
    """Particles well inside all tilt images, spread over the tomogram's depth."""
    rng = np.random.default_rng(seed)
    tilts = np.array([0.0, 25.0, -20.0, 38.0, -41.0])
    angles = np.stack([rng.uniform(-3, 3, 5), tilts, 84 + rng.uniform(-2, 2, 5)], axis=1)
    corners = np.array([(x, y) for x in (-1, 1) for y in (-1, 1)])[:particles]
    flat = corners * 260 + rng.uniform(-15, 15, (particles, 2))
    depth = rng.uniform(-60, 60, (particles, 1))
    return World(
        name,
        angles,
        rng.uniform(-20, 20, (5, 2)),
        3.0 * np.array([1, 2, 3, 4, 5.0]),
        hand,
        np.concatenate([flat, depth], axis=1),
        rng.uniform(-9, 9, (particles, 3)),
        rng.uniform(-180, 180, (particles, 3)),
        rng.uniform(-180, 180, (particles, 3)),
        rng.normal(size=(25, 3)) * 22 + rng.normal(size=3) * 8,
        ctf,
    )


def write_star(path: Path, rows, optics=None) -> Path:
    """A STAR writer of the tests' own."""
    lines = ["data_general", "", "_rlnTomoSubTomosAre2DStacks 1", ""]
    optics = optics or {"rlnOpticsGroup": 1, "rlnTomoTiltSeriesPixelSize": PIXEL}
    for name, table in (("optics", [optics]), ("particles", list(rows))):
        lines += [f"data_{name}", "", "loop_", *(f"_{column}" for column in table[0])]
        lines += [
            " ".join(f"{v:.9f}" if isinstance(v, float) else str(v) for v in row.values())
            for row in table
        ]
        lines.append("")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))
    return path
