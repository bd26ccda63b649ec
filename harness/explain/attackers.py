"""The attackers of the scenarios, as the rules know them: what each has, and which scenario plays it (pure)."""

from dataclasses import dataclass

from harness.policy.capabilities import Capabilities, ExecutionPath


@dataclass(frozen=True)
class AttackerKind:
    """One attacker.

    Attributes:
        name: For ``--expect`` and for lists.
        about: Who that is, in a sentence.
        capabilities: What they have.
        scenario: What plays it, as ``file::function`` below scenarios/.
        attacks: The names of that attack in the evidence (the functions, without ``test_``, with hyphens), where its
            grants agree in what `Granted` says. The scenarios' machines have Secure Boot off, so any live system is
            accepted: it shows what `machine-same-signer` gets.
    """

    name: str
    about: str
    capabilities: Capabilities
    scenario: str
    attacks: tuple[str, ...]


def _by(path: ExecutionPath) -> Capabilities:
    return Capabilities(machine=True, paths=frozenset({path}))


ATTACKERS: tuple[AttackerKind, ...] = (
    AttackerKind(
        "disk-stolen",
        "a burglar who takes the disk alone, far from your network",
        Capabilities(disk=True),
        "test_attack_disk.py::test_disk_clone",
        ("disk-clone",),
    ),
    AttackerKind(
        "disk-cloned-at-home",
        "a copy of the disk, started where your Tang servers answer",
        Capabilities(disk=True, network=True),
        "test_attack_disk.py::test_disk_clone_opens_elsewhere_when_tang_alone_guards_it",
        (
            "disk-clone",
            "disk-clone-stays-shut-without-the-tpm",
            "disk-clone-opens-elsewhere-when-tang-alone-guards-it",
        ),
    ),
    AttackerKind(
        "machine-stolen",
        "a burglar who takes the whole machine and boots a live system on it, far from your network",
        Capabilities(machine=True),
        "test_attack_theft.py::test_stolen_foreign_os",
        (),
    ),
    AttackerKind(
        "machine-same-signer",
        "the same burglar, with another system that the firmware accepts as it does yours",
        _by(ExecutionPath.SAME_SIGNER),
        "test_attack_theft.py::test_stolen_foreign_os_under_secure_boot",
        ("stolen-foreign-os", "stolen-foreign-os-under-secure-boot"),
    ),
    AttackerKind(
        "visitor-live-system",
        "a visitor who boots a live system on your machine where it stands, your Tang servers in reach",
        Capabilities(machine=True, network=True),
        "test_attack_theft.py::test_stolen_foreign_os",
        (),
    ),
    AttackerKind(
        "boot-menu",
        "a visitor at the boot menu who edits the kernel's command line (GRUB)",
        _by(ExecutionPath.COMMAND_LINE),
        "test_attack_boot_chain.py::test_cmdline_edit",
        ("cmdline-edit",),
    ),
    AttackerKind(
        "initrd-replaced",
        "a visitor who replaces the initrd on the unencrypted /boot",
        _by(ExecutionPath.INITRD),
        "test_attack_boot_chain.py::test_initrd_replaced",
        ("initrd-replaced",),
    ),
    AttackerKind(
        "look-alike-root",
        "a thief who puts a look-alike in place of the encrypted root, which your own initrd then starts",
        _by(ExecutionPath.ROGUE_ROOT),
        "test_attack_rootfs.py::test_rootfs_confusion",
        ("rootfs-confusion",),
    ),
    AttackerKind(
        "initrd-shell",
        "a thief who gets a shell in your own initrd, by unplugging the disk for a while",
        _by(ExecutionPath.INITRAMFS_SHELL),
        "test_attack_boot_chain.py::test_initramfs_shell",
        ("initramfs-shell",),
    ),
    AttackerKind(
        "bus-sniffer",
        "a thief with wires on the bus between processor and TPM",
        Capabilities(machine=True, tpm_bus=True),
        "test_attack_tpm_bus.py::test_tpm_bus_sniff",
        ("tpm-bus-sniff",),
    ),
    AttackerKind(
        "tpm-reset",
        "a thief who pulls the TPM's reset pin and replays your event log",
        _by(ExecutionPath.PCR_RESET),
        "test_attack_tpm_bus.py::test_pcr_reset_replay",
        ("pcr-reset-replay",),
    ),
    AttackerKind(
        "virtual-machine-copied",
        "whoever has a backup of a virtual machine: its disk, its UEFI variables and its TPM",
        Capabilities(disk=True, tpm_state=True),
        "test_attack_theft.py::test_tpm_state_clone",
        ("tpm-state-clone", "disk-clone"),
    ),
    AttackerKind(
        "root-once",
        "whoever was root once in the running system",
        _by(ExecutionPath.RUNNING_ROOT),
        "test_attack_tpm_state.py::test_late_unseal",
        ("late-unseal", "late-unseal-by-clevis"),
    ),
    AttackerKind(
        "memory-dumped",
        "whoever reads the memory of the machine while it is on",
        Capabilities(ram=True),
        "test_attack_memory.py::test_ram_dump",
        ("ram-dump",),
    ),
    AttackerKind(
        "old-header",
        "whoever kept an old copy of the LUKS header and a secret that was revoked since",
        Capabilities(disk=True, old_secret=True),
        "test_attack_header.py::test_header_rollback",
        ("header-rollback",),
    ),
)


def with_tang_keys(servers: frozenset[str]) -> AttackerKind:
    """Who has the disk and the keys of these Tang servers."""
    return AttackerKind(
        "tang-keys-stolen",
        "a burglar who takes the disk and the keys of every Tang server",
        Capabilities(disk=True, tang_keys=servers),
        "test_attack_tang.py::test_tang_keys_stolen_open_the_disk_when_tang_alone_guards_it",
        ("tang-keys-stolen-open-the-disk-when-tang-alone-guards-it", "tang-keys-stolen-are-not-enough-without-the-tpm"),
    )
