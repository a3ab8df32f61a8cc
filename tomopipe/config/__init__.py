"""Settings: frozen pydantic models from which the command line, the schema and the docs come."""

from tomopipe.config.branch import STAGES, Branch
from tomopipe.config.run import Config, parse_config, read_config
from tomopipe.config.sources import Dataset
from tomopipe.config.steps import STEP_FORMAT

__all__ = ["STAGES", "STEP_FORMAT", "Branch", "Config", "Dataset", "parse_config", "read_config"]
