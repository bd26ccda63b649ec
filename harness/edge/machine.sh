# shellcheck shell=bash
# What a controller host with a machine does on its network, as functions for the line that harness/edge/machine.py puts after them.
port=7007

# device_of MAC: the network device with that address.
device_of() { basename "$(dirname "$(grep -lix "$1" /sys/class/net/*/address)")"; }

# join MAC ADDRESS SHARE-SCRIPT: be on the segment, and give one's own share, decrypted, to whoever connects.
join() {
    local device
    device=$(device_of "$1")
    ip link set "$device" up
    ip address replace "$2/24" dev "$device"
    printf '%s\n' "$3" > /run/edge-share
    systemctl stop edge-share 2> /dev/null || true
    systemd-run --quiet --collect --unit=edge-share systemd-socket-activate --accept --inetd -l "$port" /bin/bash /run/edge-share
}

# unplug MAC: the cable of the segment is out.
unplug() { ip link set "$(device_of "$1")" down; }

# ask ADDRESS: the share of another host.
ask() { timeout 30 bash -c "cat < /dev/tcp/$1/$port"; }
