"""A throw-away SLURM on this machine: one node, partitions `cpu` and `gpu`, all of it in a folder.

It has its own configuration, ports, munge key and socket, state and logs, and touches nothing of a
SLURM that may be there already. The node claims more cores and memory than the machine has, and two
GPUs that are none, so that jobs can ask for what they would ask for on a cluster.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CPUS, MEMORY_MB = 32, 262144
GPUS = ("/dev/null", "/dev/zero")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
SBIN = "/usr/sbin:/sbin:/usr/local/sbin"

SLURM_CONF = """\
ClusterName=tomopipe
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=15
CredType=cred/munge
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
TaskProlog={folder}/task_prolog
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
GresTypes=gpu
MinJobAge=3600
KillWait=5
OverTimeLimit=0
SlurmctldTimeout=10
SlurmdTimeout={node_timeout}
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""

# What a job sees of its resources, one file for each; SLURM runs it before the job's own program.
TASK_PROLOG = """\
#!/bin/sh
env | grep -E '^(SLURM_JOB_|CUDA_VISIBLE_DEVICES=)' > {folder}/seen/$SLURM_JOB_ID
"""

# The executor's job step drops SLURM_CONF from the environment that it gives to srun.
SRUN = """\
#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""


@dataclass(frozen=True)
class Job:
    """One submission, as SLURM's controller tells it."""

    id: int
    rule: str
    branch: str  # or data set: the job's wildcards
    state: str
    partition: str
    cpus: int
    memory_mb: int
    minutes: int
    gpus: int
    restarts: int


class Cluster:
    """Daemons of a cluster and what can be done to them; `with Cluster() as cluster: ...`.

    Raises
    ------
    TimeoutError
        If a daemon does not answer in time, with the end of its log.
    """

    def __init__(self, node_timeout: int = 10) -> None:
        # a socket's path may have 107 letters: the folder is not in pytest's deep tree
        self.folder = Path(tempfile.mkdtemp(prefix="tomopipe_slurm_", dir="/tmp"))
        self.host = socket.gethostname().split(".")[0]
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))},
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}:{SBIN}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._write(node_timeout)

    def __enter__(self) -> Cluster:
        try:
            self._start_munged()
            self.start_slurmctld()
            self.start_slurmd()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # what a test may do

    def start_slurmctld(self) -> None:
        """Start the controller, which takes up its jobs where it left them."""
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait_for(lambda: self._ask("scontrol", "ping").returncode == 0, "slurmctld")

    def kill_slurmctld(self) -> None:
        """SIGKILL the controller."""
        self._kill("slurmctld")

    def start_slurmd(self) -> None:
        """Start the node's daemon, and wait until the node takes jobs."""
        self._start("slurmd", "slurmd", "-D", "-f", str(self.folder / "slurm.conf"))
        self._wait_for(lambda: self.node_state() in {"IDLE", "MIXED", "ALLOCATED"}, "slurmd")

    def kill_node(self) -> None:
        """SIGKILL the node's daemon and everything that runs on it, as when its power goes."""
        self._kill("slurmd")
        for pid in self._processes():
            if _has(pid, "SLURM_JOB_ID=") or _program(pid) == "slurmstepd":
                _kill(pid)

    def scancel(self, job: Job) -> None:
        """Cancel a job."""
        self.run("scancel", str(job.id))

    def set_time_limit(self, job: Job, minutes: int) -> None:
        """Change how long a running job may run."""
        self.run("scontrol", "update", f"JobId={job.id}", f"TimeLimit={minutes}")

    # what a test may ask

    def run(self, *command: str) -> str:
        """Output of a SLURM command; raises CalledProcessError if it fails."""
        result = self._ask(*command)
        result.check_returncode()
        return result.stdout

    def node_state(self) -> str:
        """State of the node, e.g. IDLE, without its flags."""
        found = re.search(r"State=(\w+)(\*?)", self._ask("scontrol", "show", "node").stdout)
        return "UNKNOWN" if found is None or found[2] else found[1]

    def jobs(self, rule: str = "", branch: str = "") -> list[Job]:
        """All jobs so far, finished ones too, in the order of their submission."""
        text = self._ask("scontrol", "show", "job", "--oneliner").stdout
        found = [_job(line) for line in text.splitlines() if line.startswith("JobId=")]
        wanted = [j for j in found if rule in ("", j.rule) and branch in ("", j.branch)]
        return sorted(wanted, key=lambda job: job.id)

    def wait(self, job: Job, seconds: float = 300) -> None:
        """Wait until a job has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            states = {found.state for found in self.jobs() if found.id == job.id}
            if not states & {"PENDING", "RUNNING", "COMPLETING"}:
                return
            time.sleep(0.2)
        raise TimeoutError(f"job {job.id} still runs after {seconds} s")

    def processes(self, job: Job) -> list[int]:
        """What a job runs on the node."""
        return [pid for pid in self._processes() if _has(pid, f"SLURM_JOB_ID={job.id}\0")]

    def seen_in(self, job: Job) -> dict[str, str]:
        """Environment that a job found."""
        lines = (self.folder / "seen" / str(job.id)).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    # how

    def _write(self, node_timeout: int) -> None:
        for name in ("bin", "munge", "state", "spool", "seen"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        facts = {
            "folder": self.folder,
            "host": self.host,
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "controller_port": _free_port(),
            "node_port": _free_port(),
            "node_timeout": node_timeout,
            "cpus": CPUS,
            "memory": MEMORY_MB,
            "gpus": len(GPUS),
        }
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**facts))
        (self.folder / "gres.conf").write_text(
            "".join(f"Name=gpu File={device}\n" for device in GPUS)
        )
        self._write_script("task_prolog", TASK_PROLOG)
        self._write_script("bin/srun", SRUN)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        if os.geteuid() == 0:  # munged does not like to be root
            for path in (self.folder / "munge", key):
                shutil.chown(path, "munge", "munge")

    def _write_script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text.format(folder=self.folder, srun=shutil.which("srun")))
        path.chmod(0o755)

    def _start_munged(self) -> None:
        place = self.folder / "munge"
        place.chmod(0o755)
        self._start(
            "munged",
            *("munged", "--foreground", "--num-threads=2", f"--socket={place}/socket"),
            *(f"--key-file={place}/key", f"--pid-file={place}/pid", f"--seed-file={place}/seed"),
            *(f"--log-file={place}/log",),
            user="munge" if os.geteuid() == 0 else None,
        )
        self._wait_for((place / "socket").exists, "munged")

    def _start(self, name: str, *command: str, user: str | None = None) -> None:
        path = shutil.which(command[0], path=self.environment["PATH"])
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                [str(path), *command[1:]],
                env=self.environment,
                cwd="/",
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us: we take them down in order
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def _ask(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60
        )

    def _wait_for(self, ready: Callable[[], bool], name: str, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if ready():
                return
            if self._daemons[name].poll() is not None:
                break
            time.sleep(0.2)
        raise TimeoutError(f"{name} did not come up:\n{self.logs()}")

    def logs(self) -> str:
        """The last lines of what the daemons said."""
        files = sorted(self.folder.glob("*.log")) + sorted(self.folder.glob("*.out"))
        return "\n".join(f"== {f.name}\n{f.read_text(errors='replace')[-2000:]}" for f in files)

    def stop(self) -> None:
        """End all jobs and daemons, and remove the folder."""
        for name in ("slurmctld", "slurmd", "munged"):
            if name in self._daemons:
                self._daemons[name].send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._daemons[name].wait(10)
        for pid in self._processes():
            _kill(pid)
        for daemon in self._daemons.values():
            daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _processes(self) -> Iterator[int]:
        """Processes of this cluster: daemons, jobs, and who talks to them from a test."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf\0"
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and int(path.name) != os.getpid() and _has(path.name, mark):
                yield int(path.name)


def missing() -> str:
    """Why there can be no cluster here, in a sentence; empty if there can."""
    path = f"{os.environ['PATH']}:{SBIN}"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"{', '.join(absent)} not found" if absent else ""


def _job(line: str) -> Job:
    """Read a line of `scontrol show job --oneliner`."""
    facts = dict(re.findall(r"(\w+)=(\S*)", line))
    comment = re.fullmatch(r"rule_(\w+?)(?:_wildcards_(\w+))?", facts.get("Comment", ""))
    gpus = re.search(r"gres[:/]gpu[:=](\d+)", line)
    return Job(
        id=int(facts["JobId"]),
        rule=comment[1] if comment else "",
        branch=(comment[2] or "") if comment else "",
        state=facts["JobState"],
        partition=facts["Partition"],
        cpus=int(facts["NumCPUs"]),
        memory_mb=_megabytes(facts["MinMemoryNode"]),
        minutes=_minutes(facts["TimeLimit"]),
        gpus=int(gpus[1]) if gpus else 0,
        restarts=int(facts["Restarts"]),
    )


def _megabytes(text: str) -> int:
    """SLURM writes 4000M, and 4G where it comes out even."""
    number, unit = float(text.rstrip("KMGT")), text[-1]
    return round(number * {"K": 1 / 1024, "G": 1024, "T": 1024**2}.get(unit, 1))


def _minutes(text: str) -> int:
    """Minutes of D-HH:MM:SS."""
    days, _, clock = text.rpartition("-")
    hours, minutes, _ = (int(part) for part in clock.split(":"))
    return int(days or 0) * 1440 + hours * 60 + minutes


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _has(pid: int | str, mark: str) -> bool:
    """Whether a process was started with an environment that has `mark` at a variable's start."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return b"\0" + mark.encode() in b"\0" + environment


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
