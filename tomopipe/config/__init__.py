"""Settings: frozen pydantic models from which the command line, the schema and the docs come."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomopipe.config.branch import STAGES, Branch
    from tomopipe.config.run import Config, parse_config, read_config
    from tomopipe.config.sources import Dataset
    from tomopipe.config.steps import STEP_FORMAT

__all__ = ["STAGES", "STEP_FORMAT", "Branch", "Config", "Dataset", "parse_config", "read_config"]

_MODULES = {
    "STAGES": "branch",
    "Branch": "branch",
    "Config": "run",
    "parse_config": "run",
    "read_config": "run",
    "Dataset": "sources",
    "STEP_FORMAT": "steps",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for: the help of a verb needs its own settings, not those of all."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
