"""libvirt as a hypervisor: a machine is a transient domain, made of `domain_xml`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness import untrusted
from harness.host.session import Host
from harness.machine.domain_xml import Runtime, domain_xml
from harness.machine.hypervisor import COMMAND, QEMU_LOG, end_of_log
from harness.machine.libvirt import Domain, created_domain
from harness.machine.spec import Machine
from harness.network.isolated_qemu import ORDER
from harness.temporary import KEEP

DOMAIN_XML = "domain.xml"


class Libvirt:
    """The hypervisor that is libvirt's QEMU driver.

    Args:
        host: Which libvirt.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    @contextmanager
    def created(self, machine: Machine, runtime: Runtime, evidence: Path, *, outlive: bool = False) -> Iterator[Domain]:
        """Create a machine whose CPUs do not run yet; see `Hypervisor.created`."""
        xml = domain_xml(machine, runtime)
        (evidence / DOMAIN_XML).write_text(xml)
        try:
            with created_domain(self._host, runtime.name, xml, outlive=outlive) as domain:
                yield domain
        finally:
            self._keep_log(runtime, evidence)

    def log_tail(self, runtime: Runtime) -> str:
        """The last lines that QEMU wrote about a machine."""
        return end_of_log(self._log(runtime))

    def attach_hints(self, runtime: Runtime) -> str:
        """How a person turns a machine off that was left on; see `Hypervisor.attach_hints`."""
        virsh = f"virsh -c '{self._host.libvirt_uri}'"
        return f"      or: {virsh} console {runtime.name}\nclean up: {virsh} destroy {runtime.name}"

    def _log(self, runtime: Runtime) -> Path:
        return self._host.qemu_logs / f"{runtime.name}.log"

    def _keep_log(self, runtime: Runtime, evidence: Path) -> None:
        try:
            text = untrusted.read(self._log(runtime)).decode(errors="replace")
        except OSError:
            return  # a system libvirt's are for root alone, and QEMU may not have got that far
        (evidence / QEMU_LOG).write_text(text)
        (evidence / COMMAND).write_text(command_line(text))
        if not (runtime.folder.parent / KEEP).exists():
            with suppress(PermissionError):  # a system libvirt's
                untrusted.remove(self._log(runtime))


def command_line(qemu_log: str) -> str:
    """QEMU's environment and arguments as libvirt logged them, so that they can be pasted; empty if there are none.

    The order for a network of its own (`isolated_qemu`) is left out: nothing would answer to it.
    """
    lines: list[str] = []
    for line in qemu_log.splitlines():
        if lines or line.startswith("LC_ALL="):
            if not line.startswith(f"{ORDER}="):
                lines.append(line)
            if not line.endswith("\\"):
                break
    return "".join(f"{line}\n" for line in lines)
