#!/bin/sh
# What `unlock-lab explain --machine DIR` needs to know of a machine. Run it as root on the machine: sh collect.sh DIR
# It changes nothing outside DIR, opens no volume, asks for no passphrase, and copies no key: of each LUKS2 header it
# takes the JSON metadata, which holds what is sealed and where, but no keyslot. Read DIR before you hand it on: it names
# disks, servers and versions. For Debian, Fedora, Arch, RHEL and their kin; what a machine lacks is left out.
set -u
umask 077
LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH

if [ $# -ne 1 ]; then
    echo "usage: sh collect.sh DIR    (a new folder; as root)" >&2
    exit 2
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "collect.sh: run it as root, or the LUKS headers and the TPM's log cannot be read" >&2
    exit 1
fi
case $1 in /*) ;; *) set -- "./$1" ;; esac # where it says, whatever CDPATH is; and neither "-" nor an option
mkdir "$1" || exit 1
cd "$1" || exit 1
mkdir luks pcrs
root=${SYSROOT:-}

have() { command -v "$1" >/dev/null 2>&1; }
take() { [ -r "$1" ] && cat "$1" >"$2"; }

echo 1 >format
take "$root/proc/cmdline" cmdline
take "$root/etc/crypttab" crypttab
take "$root/etc/fstab" fstab
for key in "$root"/etc/cryptsetup-keys.d/*.key; do
    [ -e "$key" ] && echo "${key##*/}"
done >cryptsetup-keys # the names of the keys that systemd takes by itself, and nothing of what is in them
take "$root/etc/os-release" os-release
have lsblk && lsblk --json --paths --output NAME,TYPE,FSTYPE,UUID,LABEL,PARTUUID,PARTLABEL,MOUNTPOINTS >lsblk.json 2>/dev/null

# Every LUKS device: its metadata, and what clevis says of it.
if have blkid && have cryptsetup; then
    for device in $(blkid --match-token TYPE=crypto_LUKS --output device); do
        uuid=$(cryptsetup luksUUID "$device") || continue
        case $uuid in # whoever wrote the header chose it: it is to be no path
            *[!0-9A-Fa-f-]*) echo "left out, for its UUID is none: $device" >&2 && continue ;;
        esac
        echo "$device" >"luks/$uuid.device"
        cryptsetup luksDump --dump-json-metadata "$device" >"luks/$uuid.json" 2>/dev/null || rm -f "luks/$uuid.json"
        have clevis && clevis luks list -d "$device" >"luks/$uuid.clevis" 2>/dev/null
    done
fi

# The TPM: what it measured, and the firmware's log of it.
tpm=$root/sys/class/tpm/tpm0
take "$tpm/tpm_version_major" tpm-version
for bank in "$tpm"/pcr-*; do
    [ -d "$bank" ] || continue
    for pcr in "$bank"/*; do
        echo "${pcr##*/}:$(cat "$pcr")"
    done | sort -n >"pcrs/${bank##*/pcr-}"
done
take "$root/sys/kernel/security/tpm0/binary_bios_measurements" event-log
have tpm2_getcap && tpm2_getcap properties-variable >tpm-properties 2>/dev/null

# Secure Boot: the fifth byte of the variable is 1 when it is on.
for variable in "$root"/sys/firmware/efi/efivars/SecureBoot-*; do
    [ -r "$variable" ] && od -An -tu1 -j4 -N1 "$variable" | tr -d ' ' >secure-boot
done

# What opens the disks, and in which version.
for name in clevis clevis-luks clevis-dracut clevis-initramfs clevis-systemd systemd dracut initramfs-tools mkinitcpio \
    cryptsetup cryptsetup-bin tpm2-tools linux-image-amd64 kernel; do
    if have dpkg-query; then
        dpkg-query --show --showformat='${Package} ${Version}\n' "$name" 2>/dev/null
    elif have rpm; then
        rpm --query --queryformat '%{NAME} %{VERSION}-%{RELEASE}\n' "$name" 2>/dev/null | grep -v 'is not installed'
    elif have pacman; then
        pacman --query "$name" 2>/dev/null
    fi
done >versions
for generator in dracut update-initramfs mkinitcpio booster; do
    have "$generator" && echo "$generator"
done >initrd-generator
echo "collected into $(pwd)" >&2
