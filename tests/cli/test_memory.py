"""What is said where memory does not suffice: a sentence with what to lower, and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch

from tomopipe.cli import prepare
from tomopipe.cli.main import main


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), ("`batch`", "`memory_gb`", "`compon")),
        (BrokenProcessPool("terminated abruptly"), ("worker process was killed", "`workers`")),
    ],
)
def test_short_memory_is_one_sentence(error, words, monkeypatch, capsys):
    def run(_):
        raise error

    monkeypatch.setattr(prepare, "run", run)
    assert main(["prepare", "dataset", "--out", "store"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("tomopipe: ") and said.count("\n") == 1
    assert all(word in said for word in words)


def test_other_errors_are_bugs_and_load_nothing():
    """Without torch loaded none of its errors can have come."""
    script = (
        "import sys\n"
        "from tomopipe.cli import main, prepare\n"
        "def run(_): raise RuntimeError('a bug')\n"
        "prepare.run = run\n"
        "try: main.main(['prepare', 'dataset', '--out', 'store'])\n"
        "except RuntimeError: print('torch' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr
