"""The XML in which Warp and M keep a tilt series: lists of values per tilt, grids, parameters."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tomopipe.dataset.tilt_series.geometry import Floats
from tomopipe.errors import InputError
from tomopipe.io.atomic import write_text


@dataclass(frozen=True)
class WarpXml:
    """One parsed file."""

    path: Path
    root: ET.Element

    def texts(self, name: str) -> list[str] | None:
        """Lines of the element `name`, one per tilt; None without it."""
        element = self.root.find(name)
        if element is None:
            return None
        return [line.strip() for line in (element.text or "").strip().splitlines()]

    def floats(self, name: str, count: int | None = None, default: float | None = None) -> Floats:
        """Values of the element `name`, one per tilt; `default` fills a missing one.

        Raises
        ------
        InputError
            If it is missing, holds something else than numbers, or not `count` of them.
        """
        lines = self.texts(name)
        if lines is None and default is not None and count is not None:
            return np.full(count, default)
        try:
            values = np.array([float(line) for line in lines or []])
        except ValueError:
            raise InputError(
                f"{self.path} has words in <{name}>, not numbers: correct it"
            ) from None
        if not values.size or not np.isfinite(values).all():
            raise InputError(f"{self.path} has no numbers in <{name}>: align the tilt series first")
        if count is not None and len(values) != count:
            raise InputError(
                f"{self.path} has {len(values)} values in <{name}>, {count} in <Angles>: process "
                "the tilt series again"
            )
        return values

    def attribute(self, name: str) -> float:
        """Number in the attribute `name` of the root, 0 without it."""
        return self._number(name, self.root.get(name, "0"))

    def flag(self, name: str) -> bool:
        """Whether the attribute `name` of the root is True."""
        return self.root.get(name, "False").strip().lower() == "true"

    def vector(self, name: str) -> Floats | None:
        """Three numbers `x, y, z` in the attribute `name` of the root; None without it."""
        text = self.root.get(name)
        if text is None:
            return None
        values = np.array([self._number(name, word) for word in text.split(",")])
        return values if len(values) == 3 and (values > 1).all() else None

    def parameter(self, group: str, name: str) -> float:
        """`<Param Name= Value=>` in the element `group`; NaN without it."""
        for param in self.root.iterfind(f"{group}/Param"):
            if param.get("Name") == name:
                return self._number(f"{group} {name}", param.get("Value", ""))
        return float("nan")

    def grid(self, *names: str) -> Floats | None:
        """Nodes `(D, H * W)` of the first grid that exists of `names`; None without any.

        D is the number of tilts, or 1 for a value that holds for all.
        """
        element = next((e for name in names if (e := self.root.find(name)) is not None), None)
        if element is None:
            return None
        depth = int(element.get("Depth", "1")) * int(element.get("Duration", "1"))
        nodes = [
            (
                [int(node.get(axis, "0")) for axis in "WZYX"],
                self._number(element.tag, node.get("Value", "")),
            )
            for node in element.iter("Node")
        ]
        values = np.array([value for _, value in sorted(nodes, key=lambda node: node[0])])
        if not values.size or values.size % depth:
            raise InputError(f"{self.path} has a damaged grid <{element.tag}>: process it again")
        return values.reshape(depth, -1)

    def _number(self, name: str, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise InputError(
                f"{self.path} has {name} = {text!r}, which is no number: correct it"
            ) from None


def read_warp_xml(path: Path) -> WarpXml:
    """Read the XML of a tilt series.

    Raises
    ------
    InputError
        If it is not XML, or not of a tilt series.
    """
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, OSError) as error:
        raise InputError(f"{path} cannot be read as XML ({error}): write it again") from None
    if root.tag != "TiltSeries":
        raise InputError(f"{path} is <{root.tag}>, not <TiltSeries>: give the XML of a tilt series")
    return WarpXml(path, root)


def write_warp_xml(
    path: Path,
    attributes: Mapping[str, str],
    per_tilt: Mapping[str, Sequence[str]],
    grids: Mapping[str, Floats],
    ctf: Mapping[str, float],
) -> None:
    """Write a tilt series: root attributes, lists, grids of one node per tilt, CTF parameters."""
    root = ET.Element("TiltSeries", dict(attributes))
    for name, lines in per_tilt.items():
        ET.SubElement(root, name).text = "\n".join(lines)
    if ctf:
        element = ET.SubElement(root, "CTF")
        for name, value in ctf.items():
            ET.SubElement(element, "Param", Name=name, Value=f"{value:.9g}")
    for name, values in grids.items():
        element = ET.SubElement(root, name, Width="1", Height="1", Depth=str(len(values)))
        for z, value in enumerate(values):
            ET.SubElement(element, "Node", X="0", Y="0", Z=str(z), Value=f"{value:.9g}")
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    write_text(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')
