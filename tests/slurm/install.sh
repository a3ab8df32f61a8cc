#!/usr/bin/env bash
# Is there a SLURM for tests, or can it be installed (Debian, Ubuntu, as root)? If not, say why.
# The tests start daemons of their own; a munge that the package may start is left alone.
set -uo pipefail

PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"
missing() {
    for program in munged slurmctld slurmd sbatch srun squeue scontrol; do
        command -v "$program" >/dev/null 2>&1 || { echo "$program" && return; }
    done
}
skip() {
    echo "SKIPPED: no test of SLURM was run: $1" >&2
    exit 1
}

[ "$(uname -s)" = Linux ] || skip "this is no Linux"
[ -n "$(missing)" ] || exit 0
[ "$(id -u)" = 0 ] || skip "$(missing) is not installed, and only root could install it"
command -v apt-get >/dev/null || skip "$(missing) is not installed, and there is no apt-get"

echo "Installing slurm-wlm and munge"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
packages="slurmctld slurmd slurm-client munge"
if ! { apt-get update && apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    skip "apt-get could not install $packages"
fi
[ -z "$(missing)" ] || skip "$(missing) did not come with $packages"
