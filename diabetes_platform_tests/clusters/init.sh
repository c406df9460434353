#!/bin/sh
# Prepares the namespaces of a node; its argument is the directory of the node's files, followed by
# the names of the sysctls to hide. It goes on as the node's first process.
set -eu
directory=$1
shift
resolver=$(readlink -f /etc/resolv.conf)
# Programs keep sockets, namespaces and logs there.
for private in /run /opt /var/lib /var/log; do
    mount -t tmpfs -o mode=755 tmpfs "$private"
done
mkdir -p /run/netns "$(dirname "$resolver")"
[ -e "$resolver" ] || : > "$resolver"
mount --bind "$directory/shadow/resolv.conf" "$resolver"
for sysctl in "$@"; do
    mount --bind "$directory/shadow/$sysctl" "/proc/sys/$(echo "$sysctl" | tr . /)"
done
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
echo ready
exec tini -- sleep infinity > /dev/null 2>&1
