#!/usr/bin/env bash
# Starts a SLURM on the nodes of nodes.sh, runs a command on the first one, and ends it: to try sbatch scripts.
#
#   sudo examples/clusters/local/nodes.sh examples/clusters/local/slurm.sh bash
#
# It needs the Debian packages slurm-wlm and munge. The 8 GPUs of a node are names of /dev/null.
set -euo pipefail
nodes=$(grep -c node /etc/hosts)
state=/run/slurm # in memory, for all nodes
mkdir -p "$state/log" "$state/munge"
dd if=/dev/urandom of="$state/munge.key" bs=1 count=1024 status=none
chmod 400 "$state/munge.key"
chown -R munge: "$state/munge.key" "$state/munge"
cat >"$state/slurm.conf" <<END
ClusterName=local
SlurmctldHost=node1
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/%n
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/%n.pid
SlurmctldLogFile=$state/log/slurmctld
SlurmdLogFile=$state/log/%n
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
MinJobAge=600
KillWait=60
NodeName=node[1-$nodes] CPUs=64 Gres=gpu:8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
for number in {0..7}; do
    mknod "$state/gpu$number" c 1 3 # /dev/null
done
echo "Name=gpu File=$state/gpu[0-7]" >"$state/gres.conf"
echo "CgroupPlugin=cgroup/v1" >"$state/cgroup.conf"
runuser -u munge -- munged --key-file="$state/munge.key" --socket="$state/munge/socket" \
    --pid-file="$state/munge/pid" --log-file="$state/munge/log" --seed-file="$state/munge/seed" --force
export SLURM_CONF=$state/slurm.conf
slurmctld
for number in $(seq "$nodes"); do
    # shellcheck disable=SC2029 # the path is the same on every node
    ssh "node$number" "SLURM_CONF=$SLURM_CONF slurmd -N node$number"
done
for _ in $(seq 100); do
    [ "$(sinfo --noheader --states=idle --format=%D)" = "$nodes" ] && break
    sleep 0.3
done
status=0
"$@" || status=$?
[ "$status" = 0 ] || tail -n 20 "$state"/log/* >&2
exit "$status"
