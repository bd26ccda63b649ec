"""The bench's own arithmetic, and what becomes of libvirt's command line."""

from pathlib import Path

from harness.bench import bare_command
from harness.machine.domain_xml import Runtime

SAID = r"""LC_ALL=C \
HOME=/var/lib/unlock-lab \
/usr/bin/qemu-system-x86_64 \
-name guest=lab-1,debug-threads=on \
-S \
-object '{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/s/master-key.aes"}' \
-object '{"qom-type":"rng-random","id":"objrng0","filename":"/dev/urandom"}' \
-blockdev '{"driver":"file","filename":"/old/nvram.fd","node-name":"libvirt-pflash1-storage"}' \
-chardev socket,id=charmonitor,fd=21,server=on,wait=off \
-mon chardev=charmonitor,id=monitor,mode=control \
-display none \
-add-fd set=0,fd=17,opaque=serial0-log \
-chardev socket,id=charserial0,fd=16,server=on,wait=off,logfile=/dev/fdset/0,logappend=on \
-chardev socket,id=chrtpm,path=/old/tpm.sock \
-drive if=none,id=lab-disk0,format=qcow2,file=/old/disk.qcow2 \
-msg timestamp=on
"""


def test_bare_qemu_gets_the_same_machine_without_libvirt_s_own_parts() -> None:
    runtime = Runtime("bare", Path("/new"), "tcg", Path("/usr/bin/qemu-system-x86_64"), (10, 0, 2))
    command = bare_command(SAID, {"/old/nvram.fd": "/new/nvram.fd", "/old/disk.qcow2": "/new/disk.qcow2"}, runtime)
    assert command == [
        "/usr/bin/qemu-system-x86_64",
        *("-name", "guest=lab-1,debug-threads=on"),
        *("-object", '{"qom-type":"rng-random","id":"objrng0","filename":"/dev/urandom"}'),
        *("-blockdev", '{"driver":"file","filename":"/new/nvram.fd","node-name":"libvirt-pflash1-storage"}'),
        *("-display", "none"),
        *("-chardev", "socket,id=charserial0,path=/new/console.sock,server=on,wait=off"),
        *("-chardev", "socket,id=chrtpm,path=/new/tpm.sock"),
        *("-drive", "if=none,id=lab-disk0,format=qcow2,file=/new/disk.qcow2"),
        *("-msg", "timestamp=on"),
    ]
