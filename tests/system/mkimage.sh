#!/bin/bash
# SPDX-License-Identifier: MIT
# mkimage.sh [-f] DIR: make the Debian system that the system tests start. Needs root and the host packages in
# tests/system/packages.
#
#   DIR/root        the tree: kernel and initrd for the VM, lower layer of the container
#   DIR/rootfs.img  the same tree as an ext4 file system, sparse; never written to by a test
#   DIR/stamp       what it was made from: an image whose stamp is still right is kept (-f makes it again)
#
# The stamp covers this script, the agent and the host's release, by content: neither owner nor time of a file in a
# checkout changes it. Release and mirror are those of the host's own apt, so a host that can install packages can
# make the image. Nothing of the project is in it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
force=no
if [ "${1:-}" = -f ]; then
	force=yes
	shift
fi
dir=${1:?usage: mkimage.sh [-f] DIR}

packages="linux-image-amd64 initramfs-tools zstd systemd-sysv udev dbus libpam-systemd libnss-systemd
	polkitd login passwd kmod util-linux acl iproute2 procps psmisc usbutils strace openssl opensc pcscd
	libccid pcsc-tools libusb-1.0-0 python3 python3-pyscard"
size=2500M # chosen: the tree is below 700 MiB; the file is sparse
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
stamp=$({ cat "$here/mkimage.sh" "$here/in-vm/agent.py"; echo "$release"; } |
	sha256sum | cut -d' ' -f1)
if [ $force = no ] && [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
	exit 0
fi

# Only the distribution's own archives: what else the host has in its sources is no business of the image.
archives() {
	apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' \
		'Origin: Debian' | sort -u
}
if [ -z "$(archives)" ]; then
	apt-get update -qq
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
archives | sed 's/^/deb /' > "$tmp/sources.list"
if ! [ -s "$tmp/sources.list" ]; then
	echo "mkimage.sh: apt knows no Debian archive on this machine (apt-get update?)" >&2
	exit 1
fi
apt-config dump | grep '^Acquire::' | grep -v IndexTargets > "$tmp/apt.conf" || true

# Before the kernel's package is configured: a small initrd, with what the disk needs, not what the host has.
cat > "$tmp/initrd" <<'H'
#!/bin/sh
set -e
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list > "$1/etc/initramfs-tools/conf.d/vm"
printf '%s\n' virtio_pci virtio_blk ext4 > "$1/usr/share/initramfs-tools/modules.d/vm"
H

# Root may log in at the console without a password; nothing runs by itself; an empty machine-id is no first boot.
# Three people for the tests of access: one sits at the machine, one is a member of the group, one is neither.
cat > "$tmp/customize" <<H
#!/bin/sh
set -e
chroot "\$1" passwd -q -d root
for user in seated member plain; do chroot "\$1" useradd -m -s /bin/bash \$user; done
echo testbed > "\$1/etc/hostname"
: > "\$1/etc/machine-id"
mkdir -p "\$1/etc/systemd/journald.conf.d" "\$1/usr/local/lib/vm"
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' > "\$1/etc/systemd/journald.conf.d/vm.conf"
install -m 755 "$here/in-vm/agent.py" "\$1/usr/local/lib/vm/agent.py"
cat > "\$1/etc/systemd/system/vm-agent.service" <<'U'
[Unit]
Description=Runs the tests' commands
ConditionVirtualization=vm
[Service]
ExecStart=/usr/local/lib/vm/agent.py
KillMode=process
Restart=always
[Install]
WantedBy=multi-user.target
U
chroot "\$1" systemctl -q enable vm-agent.service
chroot "\$1" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \\
	e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer systemd-timesyncd.service
H
chmod +x "$tmp/initrd" "$tmp/customize"

echo "making the system image in $dir (about a minute)"
mkdir -p "$dir"
rm -rf "$dir/root" "$dir/rootfs.img" "$dir/stamp"
leave_out=()
for path in usr/share/doc usr/share/man usr/share/locale \
	lib/modules/'*'/kernel/drivers/{gpu,media,infiniband,iio,staging,isdn,net/ethernet,net/wireless,scsi,mtd} \
	lib/modules/'*'/kernel/sound; do
	leave_out+=(--dpkgopt="path-exclude=/$path/*")
done
DEBIAN_FRONTEND=noninteractive mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
	--include="$(echo $packages | tr ' ' ,)" --aptopt="$tmp/apt.conf" "${leave_out[@]}" \
	--essential-hook="$tmp/initrd" --customize-hook="$tmp/customize" \
	"$release" "$dir/root" "$tmp/sources.list"
truncate -s $size "$dir/rootfs.img"
mkfs.ext4 -q -F -d "$dir/root" "$dir/rootfs.img"
echo "$stamp" > "$dir/stamp"
