# shellcheck shell=bash
# What a controller host with a machine does on its network, as functions for the line that harness/edge/machine.py puts after them.
port=7007

# serve SHARE-SCRIPT: give one's own share, decrypted, to whoever connects.
serve() {
    printf '%s\n' "$1" > /run/edge-share
    systemd-run --quiet --collect --unit=edge-share systemd-socket-activate --accept --inetd -l "$port" /bin/bash /run/edge-share
    timeout 30 bash -c "until ss -Hltn 'sport = :$port' | grep -q .; do sleep 0.2; done"
}

# unplug CARD: the cable of the segment is out.
unplug() { ip link set "$1" down; }

# ask ADDRESS: the share of another host.
ask() { timeout 60 bash -c "cat < /dev/tcp/$1/$port"; }
