#!/usr/bin/env bash
# Trains on the machines of a hostfile. Start it on one of them, in the virtual environment.
#
#   train.sh hosts reward_models.train --config helpful_r1 output_dir=/shared/runs/helpful
#   train.sh hosts align.train --config /shared/stage1.yaml
#
# Every machine needs: the same environment at the same path, the folder that this is started in, ssh without a password
# (for the name in the hostfile), pdsh on this one, and a file system that all share for output_dir.
# Variables that the ranks need stand in ~/.deepspeed_env; DeepSpeed passes on only a few by itself.
# pdsh hands the words to a shell: settings with spaces, quotes, * or $ belong into the YAML file.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 HOSTFILE PROGRAM [--config FILE] [key=value …]" >&2
    exit 2
fi
hosts=$1 program=$2
shift 2
# Without these an ssh connection to a machine that has lost power or network waits for ever, and so does the command.
export PDSH_SSH_ARGS_APPEND="-o ServerAliveInterval=15 -o ServerAliveCountMax=4 ${PDSH_SSH_ARGS_APPEND:-}"
exec deepspeed --hostfile "$hosts" --module "$program" "$@"
