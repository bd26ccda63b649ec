# shellcheck shell=bash
# What is run among the guest's files without a machine, as functions for a shell of harness/real_tools/toolbox.py. $TPM2TOOLS_TCTI says
# where the TPM is.

# flush: what the kernel's resource manager does for each program that ends (tpm2_flushcontext(1)).
flush() {
    local what
    for what in -t -s -l; do tpm2_flushcontext $what > /dev/null 2>&1 || true; done
}

# try_bindings VOLUME: each binding in turn, as clevis-luks-askpass has it at boot. Says OPENED where one gives a key that opens the
# volume; $PIN is what a person types. The token goes to clevis without a newline: jose takes one for a part of Tang's tag, prints the key,
# and fails (seen). That a token of systemd unlocks is shown by enrolling a recovery key with it.
try_bindings() {
    local volume=$1 header slot slots
    # shellcheck disable=SC1091 # it is the guest's
    . clevis-luks-common-functions
    header=$(cryptsetup luksDump "$volume")
    mapfile -t slots < <(sed -n '/^ *[0-9]*: clevis/{n;s/.*Keyslot: *//p}' <<< "$header")
    for slot in "${slots[@]}"; do
        if printf %s "$(clevis_luks_read_slot "$volume" "$slot")" | clevis decrypt > /tmp/found && test -s /tmp/found; then
            cryptsetup open --test-passphrase --key-slot "$slot" --key-file /tmp/found "$volume" && echo OPENED && return 0
        fi
        flush
    done
    if grep -q systemd-tpm2 <<< "$header"; then
        systemd-cryptenroll "--unlock-tpm2-device=$TPM2TOOLS_TCTI" --recovery-key "$volume" > /dev/null && echo OPENED && return 0
    fi
    return 1
}
