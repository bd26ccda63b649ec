# shellcheck shell=bash disable=SC2034
# Keys that a TPM keeps beside the disk's, used by the guest's own tools without a machine: functions beside those of tools.sh.
# The TPM is swtpm on the socket $lab/tpm; what is to be kept lies in $lab.
lab=/run/lab
library=/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so
library12=/usr/lib/x86_64-linux-gnu/libsimple-tpm-pk11.so
export TPM2TOOLS_TCTI=swtpm:path=$lab/tpm TPM2_PKCS11_TCTI=swtpm:path=$lab/tpm TPM2_PKCS11_STORE=$lab/store TSS2_LOG=all+none

# ssh_by LIBRARY [PIN]: log in by the key of a PKCS#11 library, at the server that listens on $lab/ssh.
ssh_by() {
    printf '#!/bin/sh\necho %s\n' "${2:-}" > /tmp/askpass
    chmod +x /tmp/askpass
    SSH_ASKPASS=/tmp/askpass SSH_ASKPASS_REQUIRE=force timeout 90 ssh -F none -I "$1" -l owner \
        -o ProxyCommand="socat - UNIX-CONNECT:$lab/ssh" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
        -o PreferredAuthentications=publickey tpm true
}

# ptool VERB ARG...: tpm2_ptool on the store, which expects a resource manager.
ptool() {
    TPM2TOOLS_AUTOFLUSH=yes tpm2_ptool "$1" --path="$TPM2_PKCS11_STORE" "${@:2}"
    flush
}

# with_tcsd COMMAND...: with TrouSerS' daemon on the TPM 1.2. The namespace has one user, so tss, which the daemon becomes, is that one.
with_tcsd() {
    local daemon status=0 file
    for file in passwd group; do
        mountpoint -q "/etc/$file" && continue
        sed -E 's/^tss:x:[0-9]+(:[0-9]+)?/tss:x:0\1/; /^tss:/s/^(tss:x:0):[0-9]+:/\1:0:/' "/etc/$file" > "/tmp/$file"
        mount --bind "/tmp/$file" "/etc/$file"
    done
    mkdir -p "$lab/tcsd"
    printf 'port = 30003\nsystem_ps_file = %s/system.data\n' "$lab/tcsd" > /tmp/tcsd.conf
    chmod 640 /tmp/tcsd.conf
    TCSD_UN_SOCKET_DEVICE_PATH=$lab/tpm tcsd -f -e -c /tmp/tcsd.conf > "$lab/tcsd/said" 2>&1 &
    daemon=$!
    for _ in $(seq 300); do
        tpm_version > /dev/null 2>&1 && break
        sleep 0.1
    done
    "$@" || status=$?
    kill $daemon
    wait $daemon 2> /dev/null || true
    return $status
}
