"""Run the demo and tell a person what is going on: steps as they start, time, and what came out.

Only the standard library is used. `snakemake` alone does the same work; this is a friendlier voice.
"""

from __future__ import annotations

import json
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

RESULTS = Path("results/demo")
FIGURES = ("ari", "spearman", "fsc_area")


def main(arguments: list[str]) -> int:
    """Run snakemake on the default config; its exit code, or 1 if the result is not there."""
    start = time.monotonic()
    print("tomopipe demo: a simulated data set, from particles to report", flush=True)
    code, output = run(arguments, start)
    if code:
        explain(output)
        return code
    print(f"\nDone in {clock(time.monotonic() - start)} min.")
    print(f"Report: {(RESULTS / 'report.html').resolve()}")
    found = RESULTS / "recovery.json"
    if not found.is_file():
        print(f"{found} is not there: was the report alone asked for?", file=sys.stderr)
        return 1
    recovery = json.loads(found.read_text(encoding="utf-8"))
    figures = {name: recovery.get(name) for name in FIGURES}
    said = (f"{n}={'none' if v is None else format(v, '.3f')}" for n, v in figures.items())
    print("recovered: " + " ".join(said), flush=True)
    return 0


def run(arguments: list[str], start: float) -> tuple[int, list[str]]:
    """Start snakemake, show its steps; its exit code and all that it said."""
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", *arguments]
    process = subprocess.Popen(
        [*command, "--quiet", "host", "reason"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=read_into, args=(process, lines), daemon=True)
    reader.start()
    output: list[str] = []
    show = Display(start)
    try:
        while reader.is_alive() or not lines.empty():
            try:
                output.append(lines.get(timeout=0.5))
            except queue.Empty:
                show.alive()
                continue
            show.line(output[-1])
    except KeyboardInterrupt:
        print("\nStopping; `make demo` goes on from here.")
    finally:
        show.end()
    return process.wait(), output


def read_into(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Put every line of a process into a queue."""
    for line in process.stdout or ():
        lines.put(line.rstrip())


class Display:
    """One line per step; on a terminal the newest line of the running step's log below it."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.live = sys.stdout.isatty()
        self.done, self.total = "0", "?"

    def line(self, text: str) -> None:
        """Show what matters of a line of snakemake's."""
        if step := re.match(r"(\d+) of (\d+) steps", text):
            self.done, self.total = step[1], step[2]
        elif total := re.match(r"total\s+(\d+)", text):
            self.total = total[1]
        elif job := re.match(r"Job \d+: (.+)", text):
            self.write(f"{self.stamp()}  {job[1]}\n")
        elif "Nothing to be done" in text:
            self.write("Everything is there already: nothing to be done.\n")

    def alive(self) -> None:
        """On a terminal, show the last line of the log that is being written."""
        if not self.live:
            return
        logs = sorted(RESULTS.glob("logs/**/*.log"), key=lambda path: path.stat().st_mtime)
        words = logs[-1].read_text(errors="replace").split("\n") if logs else []
        last = next((word.strip() for word in reversed(words) if word.strip()), "")
        self.write(f"{self.stamp()}    {last[:80]}")

    def stamp(self) -> str:
        """Time since the start and steps done."""
        return f"{clock(time.monotonic() - self.start)}  {self.done:>2}/{self.total}"

    def write(self, text: str) -> None:
        """Write over the live line."""
        print(f"\r\033[K{text}" if self.live else text, end="", flush=True)

    def end(self) -> None:
        """Leave no live line behind."""
        self.write("")


def explain(output: list[str]) -> None:
    """After a failure: the end of the log of every step that failed, or snakemake's own words."""
    text = "\n".join(output)
    logs = [Path(name) for name in dict.fromkeys(re.findall(r"^ +log: (\S+\.log)", text, re.M))]
    for log in (path for path in logs if path.exists()):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        print(f"\nA step failed; the end of {log}:\n" + "\n".join(lines[-20:]))
    if not logs:
        print("\n".join(output[-40:]))


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
