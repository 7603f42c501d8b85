#!/bin/sh
# Three network namespaces on one machine, joined by a bridge: a network for docs/THREE-HOSTS.md.
# As root. `up` makes it, `down` takes it away again; nothing else of the machine is touched.
set -eu

bridge=seal-bridge
roles="teacher student auditor"

up() {
    ip link add "$bridge" type bridge
    ip addr add 10.77.0.254/24 dev "$bridge"
    ip link set "$bridge" up
    number=0
    for role in $roles; do
        number=$((number + 1))
        ip netns add "seal-$role"
        ip link add "seal-$role" type veth peer name eth0 netns "seal-$role"
        ip link set "seal-$role" master "$bridge" up
        ip -n "seal-$role" addr add "10.77.0.$number/24" dev eth0
        ip -n "seal-$role" link set eth0 up
        ip -n "seal-$role" link set lo up
    done
}

down() {
    for role in $roles; do
        ip netns del "seal-$role" 2>/dev/null || true
    done
    ip link del "$bridge" 2>/dev/null || true
}

case "${1:-}" in
    up) up ;;
    down) down ;;
    *) echo "usage: $0 up|down" >&2; exit 2 ;;
esac
