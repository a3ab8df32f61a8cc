"""The typed config, and the small functions that rules ask for paths and settings."""

import json
import re
import sys
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from tomopipe.config import STEP_FORMAT, parse_config
from tomopipe.config.branch import RESULTS
from tomopipe.config.cycles import replicates_of, taken_from
from tomopipe.config.summary import waiting_words
from tomopipe.config.yaml_text import repeated_key
from tomopipe.errors import ConfigError, StateError
from tomopipe.io.results import check_results
from tomopipe.lineage.watched import Watch

# as a module of another workflow we do not know from where our config comes
OWN = (
    Path(workflow.main_snakefile).resolve().parent == Path(str(workflow.current_basedir)).parents[1]
)
for file in workflow.overwrite_configfiles or (["config/config.yaml"] if OWN else []):
    if said := repeated_key(file):
        raise WorkflowError(said)

try:
    CONFIG = parse_config(config)
except ConfigError as error:
    raise WorkflowError(str(error)) from None

CHECKOUT = Path(str(workflow.current_basedir)).parents[1]


class shell(shell):
    """The shell of these rules: a prefix of Snakemake's own would reach a workflow around it."""


# Every job runs this interpreter and this checkout, installed or not, and ends with snakemake.
shell.prefix(
    f'export PATH={quote(str(Path(sys.executable).parent))}:"$PATH" '
    f"PYTHONPATH={quote(str(CHECKOUT))} "
    "TOMOPIPE_PARENT=$PPID; "
)


pathvars:
    results=CONFIG.results,
    logs=f"{CONFIG.results}/logs",
    benchmarks=f"{CONFIG.results}/benchmarks",


wildcard_constraints:
    series="|".join(CONFIG.tilt_series) or "none",
    download="|".join(CONFIG.downloads) or "none",
    dataset="|".join(CONFIG.datasets),
    branch="|".join(CONFIG.branches),
    part=r"\d+_of_\d+",


WATCH = Watch(Path(".snakemake/tomopipe_watched.json"), logger.warning)
SIMULATED = [name for name in CONFIG.datasets if CONFIG.truth_of(name)]


def check_before_start():
    try:
        check_results(CONFIG.results)
    except StateError as error:
        raise WorkflowError(str(error)) from None


def changed_sources():
    """What to say of stacks that were changed after they were imported, data set by data set."""
    from tomopipe.dataset.changed import changed_stacks, changed_words  # with pandas: slow

    folders = (Path(CONFIG.results) / "datasets" / name for name in CONFIG.datasets)
    found = (changed_stacks(folder, recent=True) for folder in folders)
    return [changed_words(stacks) for stacks in found if stacks]


def closing_words():
    where = f"Report: {CONFIG.results}/report.html"
    return "\n".join(filter(None, [*changed_sources(), waiting_words(CONFIG), where]))
