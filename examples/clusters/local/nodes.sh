#!/usr/bin/env bash
# Runs a command on the first of several "nodes", which are network namespaces of this machine. Each node has a host
# name (node1, node2, …), an address of its own (192.0.2.1, 192.0.2.2, …) and an ssh server that only the other nodes
# can reach. All share the files of this machine, as nodes of a cluster share a network file system. Nothing is left
# behind: when the command ends, every process of every node is ended, and the namespaces are gone.
#
#   sudo examples/clusters/local/nodes.sh deepspeed --hostfile hosts --module reward_models.train …
#   sudo examples/clusters/local/nodes.sh -n 3 bash
#
# It needs root, and the Debian packages iproute2, openssh-client and openssh-server; the ssh service need not run.
# A node is switched off by: ssh node2 'kill -9 -1'. Its programs vanish, and the kernel closes their connections.
set -euo pipefail

nodes=2
while getopts n: option; do
    case $option in
        n) nodes=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
if [ $# = 0 ]; then
    echo "usage: $0 [-n NODES] COMMAND [WORD …]" >&2
    exit 2
fi

state=/run/nodes # in memory, and only in the namespaces

# --- a node: its name, its ssh server, and on the first one the command ----------------------------------------------

if [ "${KEEL_NODE:-}" != "" ] && [ "$KEEL_NODE" != all ]; then
    number=$KEEL_NODE
    unset KEEL_NODE
    hostname "node$number"
    ip link set lo up
    /usr/sbin/sshd -D -e -f "$state/sshd_config" -o "ListenAddress=192.0.2.$number" 2>>"$state/sshd.log" &
    if [ "$number" = 1 ]; then
        # The servers start at the same time as this.
        for each in $(seq "$nodes"); do
            for _ in $(seq 100); do
                ssh -n "node$each" true 2>/dev/null && break
                sleep 0.1
            done
            ssh -n "node$each" true
        done
        "$@"
        exit
    fi
    wait
    exit
fi

# --- the machine as the nodes see it: a network without a way out, names, keys ----------------------------------------

if [ "${KEEL_NODE:-}" = all ]; then
    mount -t tmpfs tmpfs /run
    mkdir -p "$state" /run/sshd /run/netns
    ssh-keygen -q -t ed25519 -N '' -f "$state/key"
    ssh-keygen -q -t ed25519 -N '' -f "$state/host_key"
    echo "127.0.0.1 localhost" >"$state/hosts"
    cat >"$state/sshd_config" <<END
HostKey $state/host_key
AuthorizedKeysFile $state/key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
END
    cat >"$state/ssh_config" <<END
Host *
    IdentityFile $state/key
    IdentitiesOnly yes
    UserKnownHostsFile $state/known_hosts
    BatchMode yes
END
    mount --bind "$state/hosts" /etc/hosts
    mount --bind "$state/ssh_config" /etc/ssh/ssh_config
    ip link set lo up
    ip link add switch type bridge
    ip link set switch up
    for number in $(seq "$nodes"); do
        echo "192.0.2.$number node$number" >>"$state/hosts"
        echo "node$number $(cut -d ' ' -f 1,2 "$state/host_key.pub")" >>"$state/known_hosts"
        ip netns add "node$number"
        ip link add "port$number" type veth peer name eth0 netns "node$number"
        ip link set "port$number" master switch up
        ip -n "node$number" address add "192.0.2.$number/24" dev eth0
        ip -n "node$number" link set eth0 up
    done
    for number in $(seq "$nodes" -1 2); do
        KEEL_NODE=$number ip netns exec "node$number" \
            unshare --uts --mount --pid --fork --kill-child --mount-proc "$0" -n "$nodes" "$@" &
    done
    KEEL_NODE=1 ip netns exec node1 \
        unshare --uts --mount --pid --fork --kill-child --mount-proc "$0" -n "$nodes" "$@"
    exit
fi

# --- the beginning: what is needed, and namespaces that end with this process -----------------------------------------

missing=()
[ "$(id -u)" = 0 ] || missing+=("root")
[ -x /usr/sbin/sshd ] || missing+=("sshd (Debian's openssh-server)")
command -v ip >/dev/null || missing+=("ip (Debian's iproute2)")
unshare --net --mount --pid --uts --fork true 2>/dev/null || missing+=("the right to make namespaces")
if [ ${#missing[@]} -gt 0 ]; then
    printf 'needs %s\n' "${missing[@]}" >&2
    exit 3
fi
KEEL_NODE=all exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" -n "$nodes" "$@"
