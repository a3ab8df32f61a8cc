"""Settings of downloads: which files of EMPIAR, Zenodo or another server, and how they come."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from tomopipe.config.base import Section

_Words = Annotated[str, StringConstraints(min_length=1)]


class FileCheck(Section):
    """One file by its path, with what it must be like."""

    path: str = Field(
        pattern=r"^[^*?]*[^*?/]$", description="path below the entry or address; no pattern"
    )
    size: int | None = Field(None, ge=0, description="bytes that it must have")
    md5: str | None = Field(
        None, pattern=r"^[0-9a-fA-F]{32}$", description="MD5 checksum that it must have"
    )
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-fA-F]{64}$", description="SHA-256 checksum that it must have"
    )


class TransferSettings(Section):
    """How files are loaded; none of this changes what comes out."""

    mirror: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="address to load from instead of the archive's own "
        "(https://ftp.ebi.ac.uk/empiar/world_availability, https://zenodo.org)",
    )
    connections: int = Field(
        8, ge=1, le=32, description="connections at a time, over all files of the download"
    )
    piece_mb: float = Field(
        16, gt=0, description="size of the ranges that large files are loaded in (MB)"
    )
    timeout_seconds: float = Field(
        60, gt=0, description="silence of the server after which a connection is given up (s)"
    )
    attempts: int = Field(
        8, ge=1, description="attempts in a row without progress before the download stops"
    )
    pause_seconds: float = Field(
        1, ge=0, description="pause before the second attempt (s); doubles up to a minute"
    )


class DownloadChoice(Section):
    """Which files, and where to."""

    about: str = Field("", description="what it is, for people")
    empiar: int | None = Field(None, ge=10000, description="number of an EMPIAR entry")
    zenodo: int | None = Field(None, ge=1, description="number of a Zenodo record")
    url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="address of a folder on any web server",
    )
    files: tuple[_Words | FileCheck, ...] = Field(
        (),
        description="which files: paths or patterns (`*` also crosses folders, `folder/` is all "
        "below it), or sections with path and checksum; `tomopipe fetch --list` shows what is "
        "there; [] = not chosen yet",
    )
    to: str | None = Field(
        None,
        min_length=1,
        description="folder that they go to, with their folders in the archive; null = "
        "data/EMPIAR-N or data/zenodo-N; needed with url",
    )

    @model_validator(mode="after")
    def _one_source(self) -> DownloadChoice:
        if sum(source is not None for source in (self.empiar, self.zenodo, self.url)) != 1:
            raise ValueError("give exactly one of empiar, zenodo (their numbers) and url")
        if self.url is not None and self.to is None:
            raise ValueError("set `to`, the folder that files from a url go to")
        for file in self.files:
            path = PurePosixPath(file if isinstance(file, str) else file.path)
            if path.is_absolute() or ".." in path.parts or urlsplit(str(path)).scheme:
                raise ValueError(f"files: {str(path)!r} must be a path below the entry or url")
        return self

    @property
    def folder(self) -> Path:
        """Folder that the files go to."""
        number = f"EMPIAR-{self.empiar}" if self.empiar else f"zenodo-{self.zenodo}"
        return Path(self.to) if self.to is not None else Path("data") / number

    @property
    def name(self) -> str:
        """What people call the source."""
        if self.empiar is not None:
            return f"EMPIAR-{self.empiar}"
        return f"Zenodo record {self.zenodo}" if self.zenodo is not None else str(self.url)

    def choice(self) -> dict[str, Any]:
        """What decides which files come, and where to."""
        chosen = set(DownloadChoice.model_fields) - {"about"}
        return self.model_dump(mode="json", include=chosen, exclude_none=True)


class Download(TransferSettings, DownloadChoice):
    """Files of a public archive or web server that data sets and tilt series are made from."""

    @model_validator(mode="after")
    def _mirror_of_an_archive(self) -> Download:
        if self.url is not None and self.mirror is not None:
            raise ValueError("mirror is for empiar and zenodo: give the address as url alone")
        return self

    def transfer_flags(self) -> list[str]:
        """How they are loaded, as flags of the command line."""
        how = self.model_dump(include=set(TransferSettings.model_fields), exclude_none=True)
        flags = ((f"--{name.replace('_', '-')}", str(value)) for name, value in how.items())
        return [word for flag in flags for word in flag]
