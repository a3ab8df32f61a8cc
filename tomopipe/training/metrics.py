"""Numbers of each epoch: `metrics.jsonl`, and TensorBoard event files if wanted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tomopipe.errors import ConfigError
from tomopipe.io.atomic import write_text


def write_metrics(path: Path, metrics: Sequence[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically; numbers that are not finite become null."""
    lines = [json.dumps({k: _plain(v) for k, v in row.items()}) for row in metrics]
    write_text(path, "".join(f"{line}\n" for line in lines))


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Board:
    """TensorBoard event files under `directory`; does nothing unless `wanted`.

    Raises
    ------
    ConfigError
        If TensorBoard is wanted and not installed.
    """

    def __init__(self, directory: Path, wanted: bool) -> None:
        self._writer: Any = None
        if not wanted:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigError(
                "tensorboard is true, but the package tensorboard is not installed: "
                "pip install tensorboard, or set tensorboard: false"
            ) from None
        self._writer = SummaryWriter(str(directory))

    def add(self, row: dict[str, Any]) -> None:
        """Add the finite numbers of an epoch."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "epoch" and isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.close()
