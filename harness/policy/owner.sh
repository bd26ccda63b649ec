# shellcheck shell=bash disable=SC2154
# What an owner does by hand in a guest, as functions for the lines that harness/policy writes: harness/lab/owner.py puts this before
# them. They run under `bash -euo pipefail`, as root; $device is the volume, $PASSWORD what opens it.

# extended_pcr HEX PHASE...: what a PCR (sha256) is after each phase has extended it by the hash of its name: systemd-pcrphase.service(8);
# TPM 2.0 Library, part 1, 17.2.
extended_pcr() {
    local value=$1 phase name
    shift
    for phase; do
        name=$(printf %s "$phase" | sha256sum | cut -c -64)
        value=$(printf %b "$(printf %s "$value$name" | sed 's/../\\x&/g')" | sha256sum | cut -c -64)
    done
    echo "$value"
}

# pcrlock_policy PCR...: predict PCRs and put the policy where the initrd finds it, a credential on the ESP (systemd-pcrlock(8)).
pcrlock_policy() {
    local -x SYSTEMD_RELAX_ESP_CHECKS=1
    local tool=/usr/lib/systemd/systemd-pcrlock
    mkdir -p /efi
    mount -t vfat /dev/disk/by-partlabel/EFI-SYSTEM /efi
    $tool lock-secureboot-policy
    $tool lock-uki --pcrlock=/var/lib/pcrlock.d/650-uki.pcrlock.d/first.pcrlock /efi/EFI/BOOT/BOOTX64.EFI
    $tool make-policy "${@/#/--pcr=}"
    umount /efi
}

# recovery_key KEY SLOT PBKDF...: what `systemd-cryptenroll --recovery-key` does, but with a key that is known: a keyslot, and a token for it.
recovery_key() {
    local key=$1 slot=$2
    shift 2
    printf %s "$PASSWORD" | cryptsetup luksAddKey "$@" --new-key-slot "$slot" -d - "$device" <(printf %s "$key")
    echo "{\"type\": \"systemd-recovery\", \"keyslots\": [\"$slot\"]}" | cryptsetup token import "$device"
}

# each_binding COUNT COMMAND...: a command of clevis with `-s SLOT` for each of its bindings, of which there must be so many.
each_binding() {
    local count=$1 slots slot
    shift
    slots=$(clevis luks list -d "$device" | cut -d: -f1)
    test "$(wc -w <<< "$slots")" = "$count"
    for slot in $slots; do
        printf '%s\n' "$PASSWORD" | "$@" -s "$slot"
    done
}

# crypttab NAME KEY OPTION...: the line of a volume in /etc/crypttab gets another key (`keep` leaves it) and further options.
crypttab() {
    local name=$1 key=$2 options=
    shift 2
    (($# == 0)) || options=$(printf ',%s' "$@")
    awk -v name="$name" -v key="$key" -v options="$options" \
        '$1 == name { if (key != "keep") $3 = key; $4 = $4 options } { print }' /etc/crypttab > /etc/crypttab.new
    mv /etc/crypttab.new /etc/crypttab
}

# kernel_arguments ARGUMENT...: from the next boot on, where the initrd asks for any (initramfs-tools asks for none).
kernel_arguments() {
    local tool=/usr/lib/unlock-lab/kernel-arguments
    if [[ -x $tool ]]; then $tool "$@"; fi
}

# make_volume NAME DISK PASSPHRASE PBKDF...: a partition of 64 MiB, encrypted.
make_volume() {
    local name=$1 disk=$2
    printf %s "$3" > /run/passphrase
    shift 3
    sgdisk --move-second-header --new=0:0:+64M --change-name=0:"$name" "$disk" >&2
    partx --update "$disk"
    udevadm settle
    cryptsetup luksFormat -q "$@" "/dev/disk/by-partlabel/$name" /run/passphrase
}

# add_key_file FILE PBKDF...: a key of its own, which the guest keeps.
add_key_file() {
    local file=$1
    shift
    (umask 077 && head -c 32 /dev/urandom > "$file")
    cryptsetup luksAddKey -q "$@" --key-file /run/passphrase "$device" "$file"
}

# use_volume NAME MOUNT_POINT KEY NOW LATER: open it with the options NOW, as the system will (which measures what it will), make a file
# system in which what was in the folder goes, mount it, and have each boot do so with the options LATER.
use_volume() {
    local name=$1 mount_point=$2 mapping=/dev/mapper/$1
    systemd-cryptsetup attach "$name" "$device" /run/passphrase "$4"
    mkfs.ext4 -q "$mapping"
    mkdir -p /run/new
    mount "$mapping" /run/new
    find "$mount_point" -mindepth 1 -maxdepth 1 -exec mv -t /run/new {} +
    umount /run/new
    mount "$mapping" "$mount_point"
    echo "$name /dev/disk/by-partlabel/$name $3 $5" >> /etc/crypttab
    echo "$mapping $mount_point ext4 defaults 0 0" >> /etc/fstab
}

# open_after NAME UNIT: at each boot a volume is opened after a unit.
open_after() {
    local folder=/etc/systemd/system/systemd-cryptsetup@$1.service.d
    mkdir -p "$folder"
    printf '[Unit]\nAfter=%s\n' "$2" > "$folder/after.conf"
}

# with_fido2_pin PIN COMMAND...: the PIN of a FIDO2 key for systemd-cryptenroll, which has no variable for it, as the credential that it reads.
with_fido2_pin() {
    local folder=/run/fido2-pin pin=$1
    shift
    (umask 077 && mkdir -p $folder && printf %s "$pin" > $folder/cryptenroll.fido2-pin)
    CREDENTIALS_DIRECTORY=$folder "$@"
}

# soft_token LABEL KEY PIN: a token of SoftHSM2 with an RSA key, unless one of that label is there.
soft_token() {
    local label=$1 key=$2 pin=$3
    if softhsm2-util --show-slots | grep -q "Label: *$label *$"; then return; fi
    softhsm2-util --init-token --free --label "$label" --so-pin "$pin" --pin "$pin"
    pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so --login --pin "$pin" --token-label "$label" \
        --keypairgen --key-type rsa:2048 --label "$key" --id 01
}

# no_soft_tokens: every token of SoftHSM2 is gone.
no_soft_tokens() {
    find /etc/softhsm/tokens -mindepth 1 -delete
}

# remote_pkcs11 ADDRESS PORT: p11-kit asks a `p11-kit remote` there for tokens (pkcs11.conf(5)).
remote_pkcs11() {
    mkdir -p /etc/pkcs11/modules
    echo "remote: |socat - TCP:$1:$2" > /etc/pkcs11/modules/hsm.module
}
