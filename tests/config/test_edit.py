"""Where a new branch goes among comments."""

from __future__ import annotations

import pytest
import yaml

from tomopipe.config.edit import with_branch

HEAD = "results: r\ndatasets: {a: {particles: p}}\nbranches:\n  b:\n    dataset: a\n"
# a branch in comments, as `tomopipe init` writes it: its words are indented, its lines are not
INIT = "  # A longer training.\n#  neural:\n#    parent: b\n"


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("", f"\n{INIT}\n  # Several scales.\n#  around:\n#    parent: b\n"),
        ("    # linear: {}\n", f"\n{INIT}"),
        ("\n    # linear: {}\n", "\n  # later: {parent: b}\n"),
        ("  # later: {parent: b}\n", "\n# the end\n"),
        ("  # of b\n", "# of the title\ntitle: last\n"),
        ("    fit: {}   # of fit\n", "\n  # c:\n  #   parent: b\n\ntitle: last\n"),
    ],
)
def test_comments_stay_with_what_they_are_of(before: str, behind: str) -> None:
    text = with_branch(HEAD + before + behind, "new", {"parent": "b"}, "my.yaml").text
    start, end = text.split("new:")
    assert start.rstrip() == (HEAD + before).rstrip()
    assert end.endswith(behind)
    assert yaml.safe_load(text)["branches"]["new"] == {"parent": "b"}
