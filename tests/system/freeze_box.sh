#!/bin/bash
# A box with a Podman and a CRIU that are new enough, over the root tree that packaging/dev/freezebox made. Podman's service comes up again when it is
# killed, as on a machine, until this script is.
#
#     freeze_box.sh TREE STORAGE SHARED    both folders have the same paths inside; SHARED/image.tar is loaded, SHARED/podman.sock is served
#
# Run under: unshare --mount --uts --ipc --net --fork --kill-child. It has this machine's processes and cgroups, and nothing else of it. Its
# /run is new each time: for Podman it is a box that was just started.
set -euo pipefail
tree=$1 storage=$2 shared=$3

mount --make-rprivate /
mount --bind "$tree" "$tree"
cd "$tree"
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
for folder in "$storage" "$shared"; do
    mkdir -p ".$folder"
    mount --rbind "$folder" ".$folder"
done
pivot_root . put
mount -t proc proc proc
umount -l put
# Of what is bound with rslave Podman wants a mount that is shared.
mount --make-rshared /
ip link set lo up

mkdir -p /etc/containers
[ -e /etc/containers/policy.json ] || echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json
export PODMAN_IGNORE_CGROUPSV1_WARNING=1 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
podman=(podman --root "$storage" --cgroup-manager cgroupfs --events-backend file --log-level "${BOX_LOG:-warn}")
if [ -e "$shared/image.tar" ]; then "${podman[@]}" load --quiet --input "$shared/image.tar"; fi
while true; do
    "${podman[@]}" system service --time 0 "unix://$shared/podman.sock" || sleep 0.05
done
