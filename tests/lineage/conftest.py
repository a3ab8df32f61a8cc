"""A small tree of results, made by steps that only write text but record their lineage."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tomopipe.analysis.clusters import clusters_fingerprint
from tomopipe.config import Config, parse_config
from tomopipe.config.analysis import Select
from tomopipe.io.atomic import write_json, write_parquet, write_text, write_yaml
from tomopipe.lineage.decision import chosen, reads
from tomopipe.lineage.write import recorded

UIDS = [f"T/{i}" for i in range(6)]
CLUSTERS = pd.DataFrame({"uid": UIDS, "cluster": [0, 0, 0, 1, 1, 1]})


def config_of(root: Path, **linear: Any) -> Config:
    return parse_config(
        {
            "results": str(root),
            "title": "text",
            "datasets": {"d": {"particles": "outside.star"}},
            "branches": {
                "a": {
                    "dataset": "d",
                    "linear": linear,
                    "analysis": {},
                    "consensus": {},
                    "junk": {},
                },
                "b": {"parent": "a", "select": {"junk": "auto"}, "linear": linear},
            },
        }
    )


class Run:
    """Steps of a run that can be made one after the other, and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "results"
        self.config = config_of(self.root, components=3)
        self.outside = folder / "outside.star"

    def all(self) -> Run:
        write_text(self.outside, "data_particles\n")
        self.dataset()
        for branch in ("a", "b"):
            self.select(branch)
            self.linear(branch)
            if branch == "a":
                self.analysis()
        return self

    def dataset(self) -> None:
        out = self.root / "datasets/d"
        settings = self.config.datasets["d"].import_
        with recorded("import", out, settings, inputs=[self.outside]):
            write_parquet(out / "particles.parquet", pd.DataFrame({"uid": UIDS}))
            write_json(out / "import.json", {"dialect": "warp"})

    def select(self, branch: str) -> None:
        out = self.root / "branches" / branch / "selected.parquet"
        select = self.config.branches[branch].select
        parent = self.root / "branches/a" if branch == "b" else None
        given = select or Select()
        inputs = [self.root / "datasets/d/particles.parquet", *reads(given, parent)]
        with recorded("select", out, given, inputs=inputs) as record:
            table = pd.DataFrame({"uid": UIDS, "kept": [True] * 5 + [branch == "a"]})
            write_parquet(out, table)
            record.chosen = chosen(table, out, select, parent)

    def linear(self, branch: str, text: str = "model") -> None:
        out = self.root / "branches" / branch / "linear"
        settings = self.config.branches[branch].settings("linear")
        with recorded("linear", out, settings, inputs=[out.parent / "selected.parquet"]):
            write_text(out / "model.safetensors", text)
            write_text(out / "latents.parquet", f"{text} latents")
            write_text(out / "metrics.jsonl", '{"epoch": 1, "loss": 0.5, "seconds": 3.0}\n')

    def analysis(self) -> None:
        branch = self.root / "branches/a"
        mark = clusters_fingerprint(CLUSTERS)
        with recorded("analysis", branch / "analysis", inputs=[branch / "linear"]):
            write_parquet(branch / "analysis/clusters.parquet", CLUSTERS)
            write_json(branch / "analysis/analysis.json", {"fingerprint": mark})
        entry = {"decision": "keep", "automatic": "keep"}
        judged, decided = branch / "junk.parquet", branch / "selection.yaml"
        inputs = [branch / "analysis/clusters.parquet"]
        with recorded("junk", judged, inputs=inputs, outputs=lambda: [judged]):
            write_parquet(judged, CLUSTERS)
        with recorded("decide", decided, inputs=[judged], outputs=lambda: [decided]):
            content = {"clusters_fingerprint": mark, "clusters": {0: entry, 1: entry}}
            write_yaml(decided, content)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("template")).all()


@pytest.fixture
def run(template: Run, tmp_path: Path) -> Run:
    """A copy of the tree that may be spoilt: quicker than to make it anew."""
    shutil.copytree(template.folder, tmp_path, dirs_exist_ok=True)
    imported = tmp_path / "results/datasets/d/lineage.json"
    imported.write_text(imported.read_text().replace(str(template.folder), str(tmp_path)))
    return Run(tmp_path)
