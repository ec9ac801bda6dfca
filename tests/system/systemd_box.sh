#!/bin/bash
# A box of its own with systemd as PID 1 and the units of this checkout: on this machine's files, of which nothing is changed.
#
#     systemd_box.sh FOLDER CHECKOUT NBD    FOLDER is empty and mounts over nothing; NBD is the program of the units
#
# Run under: unshare --mount --pid --uts --ipc --net --cgroup --fork. Its messages go to FOLDER's console, read as /dev/console in the box.
set -euo pipefail
folder=$1 checkout=$2 nbd=$3

mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder"/{up,work,root,units}
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/up,workdir=$folder/work" "$folder/root"
cd "$folder/root"

mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch dev/console
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd systemd sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
fi

# Of this machine's own units and services only the bare targets.
units=$([ -e usr/lib/systemd/system/basic.target ] && echo usr/lib/systemd/system || echo lib/systemd/system)
for target in basic sysinit shutdown umount final exit sockets multi-user network-online remote-fs local-fs slices paths timers; do
    cp -L "$units/$target.target" "$folder/units/"
done
cp "$checkout"/systemd/nbd-sync.* "$folder/units/"
mount --bind "$folder/units" "$units"
mount -t tmpfs -o mode=755 tmpfs etc/systemd/system
[ ! -d etc/init.d ] || mount -t tmpfs tmpfs etc/init.d

# An overlay cannot tell of its changes; a file system of its own can.
mount -t tmpfs -o mode=755 tmpfs home

mkdir put
pivot_root . put
mount -t proc proc proc
umount -l put
# As systemd finds it on a machine: it hands credentials on by way of that.
mount --make-rshared /
ip link set lo up

useradd --system --home-dir /var/lib/nbd/sync --shell /usr/sbin/nologin nbd-sync
useradd --create-home nbdtest-pia
chmod 0700 /home/nbdtest-pia
ln -sf "$nbd" /usr/bin/nbd
install -d -m 0755 /etc/nbd
install -d -m 0700 /etc/credstore
install -d /etc/systemd/system/nbd-sync.service.d
cat >/etc/systemd/system/nbd-sync.service.d/test.conf <<END
[Service]
StandardOutput=append:/run/sync.out
StandardError=append:/run/sync.out
WatchdogSec=3s
# Also where it lies below /tmp, of which the unit has its own.
BindReadOnlyPaths=$checkout
END

exec env -i container=nbdtest PATH=/usr/bin:/bin:/usr/sbin:/sbin \
    /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=no
