#!/bin/sh
# enter.sh TREE SHARED INSIDE DEVICE...: in new namespaces of mounts and processes, a shell with a guest's files as its root: read-only, with
# /dev, /tmp and /run of its own, the folder SHARED at INSIDE, and of the host's devices just these.
set -e
tree=$1 shared=$2 inside=$3
shift 3
mount --make-rprivate /
mount --bind "$tree" "$tree"
mount -t proc proc "$tree/proc"
if [ -e "$tree/usr/lib/tmpfiles.d/unlock-lab.conf" ]; then
    chroot "$tree" systemd-tmpfiles --create unlock-lab.conf # what the image leaves to its first boot
fi
mount -o remount,bind,ro "$tree"
mount -t tmpfs tmpfs "$tree/dev"
for device; do
    : > "$tree/dev/$device"
    mount --bind "/dev/$device" "$tree/dev/$device"
done
ln -s /proc/self/fd "$tree/dev/fd"
for folder in tmp run; do mount -t tmpfs tmpfs "$tree/$folder"; done
mkdir "$tree$inside"
mount --bind "$shared" "$tree$inside"
exec chroot "$tree" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 /bin/bash -s
