"""The columns of the truth table: single faults, maintenance, every subset of servers, what is for roots."""

from collections.abc import Iterator, Sequence
from itertools import product

from harness.guest.plan import OFFLINE_SECONDS
from harness.lab.faults import (
    boot_entry_added,
    db_key_enrolled,
    dbx_updated,
    firmware_swapped,
    network_unplugged,
    secure_boot_enabled,
    secure_boot_owned,
    security_key_removed,
    security_key_replaced,
    smbios_cmdline,
    tpm_downgraded_to_1_2,
    tpm_removed,
    tpm_replaced,
)
from harness.matrix.actions import (
    LOCK_OUT,
    by_another,
    delete_keys,
    each_volume,
    link_at_the_prompt,
    once,
    other_threshold,
)
from harness.matrix.condition import EVERY, Condition
from harness.policy.maintenance import edited, rebound, unbound
from harness.policy.pins import TANG, ServiceId
from harness.policy.pins.systemd_fido2 import FIDO2_PIN
from harness.policy.pins.systemd_hsm import HSM
from harness.policy.pins.systemd_pkcs11 import NEW_TOKEN, REMOVE_TOKEN
from harness.policy.pins.tpm import POWER_CUTS
from harness.policy.world import Header, Network, Server, TokenState, TpmState, World
from harness.services.hsm import Hsm
from harness.services.tang import Tang

WRONG_PIN = "0000"
"""As long as a FIDO2 PIN must be at the least (CTAP 2.1, 6.5.1), and that of nothing here."""

_EVERY_TANG = ServiceId(TANG, EVERY)
_OTHER_FIRMWARE = firmware_swapped("bookworm")
_FIRMWARE_PCRS = frozenset({0, 1})
"""PCR 0 alone was expected. Seen with OVMF 2022.11 after 2025.02, nothing else changed: PCR 1 is another, too, and a
seal to PCR 1 and 7 stays shut. What a build measures of its variables and tables is its own.
"""

CONDITIONS: tuple[Condition, ...] = (
    Condition("present", "nothing is changed"),
    Condition("tpm-absent", "the TPM is switched off", World(tpm=TpmState.ABSENT), (tpm_removed,)),
    Condition("tpm-replaced", "another TPM, another storage seed", World(tpm=TpmState.ANOTHER), (tpm_replaced,)),
    Condition("tpm-1.2", "a TPM 1.2 in place of the 2.0", World(tpm=TpmState.VERSION_1_2), (tpm_downgraded_to_1_2,)),
    Condition(
        "tpm-cleared",
        "the owner cleared the TPM",
        World(tpm=TpmState.CLEARED),
        maintenance=once("tpm2_clear -c lockout"),
    ),
    Condition(
        "tpm-locked-out",
        "the TPM is in dictionary-attack lockout",
        World(tpm=TpmState.LOCKED_OUT),
        maintenance=once(*LOCK_OUT),
    ),
    Condition(
        "tpm-owner-auth",
        "the TPM's owner authorization was set",
        World(tpm=TpmState.OWNER_AUTH_SET),
        maintenance=once("tpm2_changeauth -c owner hidden"),
    ),
    Condition(
        "tang-silent", "packets to the Tang servers vanish", servers=((_EVERY_TANG, Tang.go_silent, Server.SILENT),)
    ),
    Condition(
        "tang-rotated",
        "the Tang servers' keys were rotated",
        servers=((_EVERY_TANG, Tang.rotate_keys, Server.ROTATED),),
    ),
    Condition(
        "tang-deleted",
        "the Tang servers' keys were rotated, and the old ones deleted",
        servers=((_EVERY_TANG, delete_keys, Server.KEY_DELETED),),
    ),
    Condition(
        "tang-imposter",
        "other keys at the servers' addresses",
        servers=((_EVERY_TANG, Tang.replace_keys, Server.IMPOSTER),),
    ),
    Condition("no-link", "the network cable is out", World(network=Network.NO_LINK), (network_unplugged,)),
    Condition(
        "late-link",
        "the network comes after the prompt",
        World(network=Network.LATE_DHCP),
        (network_unplugged,),
        meanwhile=link_at_the_prompt,
    ),
    Condition(
        "firmware-update",
        "another build of the firmware",
        World(changed_pcrs=_FIRMWARE_PCRS),
        (_OTHER_FIRMWARE,),
    ),
    Condition(
        "secure-boot-on",
        "Secure Boot on, under keys that did not sign the image",
        World(image_refused=True),
        (secure_boot_enabled,),
    ),
    Condition(
        "secure-boot-owned",
        "Secure Boot on, under keys of the owner, who signed the image",
        World(changed_pcrs=frozenset({4, 7})),
        (secure_boot_owned,),
    ),
    Condition("key-enrolled", "one more key in db", World(changed_pcrs=frozenset({7})), (db_key_enrolled,)),
    Condition("dbx-updated", "one more hash in dbx", World(changed_pcrs=frozenset({7})), (dbx_updated,)),
    Condition("boot-entry", "one more boot entry", World(changed_pcrs=frozenset({1})), (boot_entry_added,)),
    Condition(
        "cmdline",
        "one more kernel argument, by SMBIOS",
        World(changed_pcrs=frozenset({12})),
        (smbios_cmdline("unlock-lab.probe=1"),),
    ),
    Condition(
        "machine-id",
        "another machine id",
        World(),
        maintenance=once("printf '%s\\n' 0123456789abcdef0123456789abcdef > /etc/machine-id"),
    ),
    Condition(
        "token-removed",
        "the tokens are gone from the headers",
        World(header=Header.TOKEN_REMOVED),
        maintenance=each_volume("for t in 0 1; do cryptsetup token remove --token-id $t {device} || test $t = 1; done"),
    ),
    Condition(
        "keyslot-wiped",
        "the keyslots of the tokens are wiped",
        World(header=Header.KEYSLOT_WIPED),
        maintenance=each_volume("for s in 1 2; do cryptsetup luksKillSlot -q {device} $s || test $s = 2; done"),
    ),
    Condition(
        "header-zeroed",
        "the primary header is zeroed",
        World(header=Header.PRIMARY_ZEROED),
        maintenance=each_volume("dd if=/dev/zero of={device} bs=4096 count=4 conv=notrunc,fsync status=none"),
    ),
)
"""One fault each."""

MAINTENANCE: tuple[Condition, ...] = (
    Condition(
        "regenerated",
        "keys rotated, every binding made anew, the old keys deleted",
        before=Tang.rotate_keys,
        maintenance=rebound,
        servers=((_EVERY_TANG, Tang.delete_old_keys, Server.UP),),
    ),
    Condition(
        "regenerated-late",
        "old keys deleted first, then every binding made anew by the passphrase",
        before=delete_keys,
        maintenance=rebound,
    ),
    Condition(
        "threshold-edited",
        "AND became OR, and OR became AND; then no Tang server can be reached",
        maintenance=edited(other_threshold),
        servers=((_EVERY_TANG, Tang.stop, Server.REFUSED),),
    ),
    Condition(
        "rebound",
        "every binding to tang became one to two; then tang is gone",
        maintenance=edited(by_another),
        servers=((ServiceId(TANG, "tang"), Tang.stop, Server.REFUSED),),
    ),
    Condition("unbound", "the bindings and their keyslots are gone", maintenance=unbound),
    Condition(
        "firmware-renewed",
        "another build of the firmware, a passphrase typed, every binding made anew",
        faults=(_OTHER_FIRMWARE,),
        maintenance=rebound,
        under=(_OTHER_FIRMWARE,),
        under_changes=_FIRMWARE_PCRS,
    ),
    Condition(
        "firmware-renewed-early",
        "every binding made anew, and only then another build of the firmware",
        World(changed_pcrs=_FIRMWARE_PCRS),
        faults=(_OTHER_FIRMWARE,),
        maintenance=rebound,
    ),
)
"""What an owner does in the right order, or the wrong one."""


def subsets(servers: Sequence[str]) -> Iterator[Condition]:
    """Every subset of the TPM and these Tang servers that are there: the truth table of every threshold."""
    names = ("tpm2", *servers)
    for there in product((True, False), repeat=len(names)):
        missing = [name for name, is_there in zip(names, there, strict=True) if not is_there]
        if missing in ([], ["tpm2"]):
            continue  # that is "present", or "tpm-absent"
        yield Condition(
            f"without {'+'.join(missing)}",
            f"{' and '.join(missing)} out of reach, the others there",
            World(tpm=TpmState.ABSENT if "tpm2" in missing else TpmState.PRESENT),
            (tpm_removed,) if "tpm2" in missing else (),
            tuple((ServiceId(TANG, name), Tang.stop, Server.REFUSED) for name in missing if name != "tpm2"),
        )


_UPDATE_UKI = "/usr/lib/unlock-lab/update-uki"
_OWNER_S_KEY = "/etc/systemd/tpm2-pcr-private-key.pem"

OF_ROOTS: tuple[Condition, ...] = (
    Condition(
        "no-link-held",
        "the network cable is out, and nobody types before initramfs-tools has given up the network",
        World(network=Network.NO_LINK),
        (network_unplugged,),
        hold=OFFLINE_SECONDS,
    ),
    Condition(
        "kernel-updated",
        "another kernel in the UKI, signed by the same key",
        World(changed_pcrs=frozenset({4, 11})),
        maintenance=once(f"{_UPDATE_UKI} kernel"),
    ),
    Condition(
        "initrd-rebuilt",
        "another initrd in the UKI, signed by the same key",
        World(changed_pcrs=frozenset({4, 9, 11})),
        maintenance=once(f"{_UPDATE_UKI} initrd"),
    ),
    Condition(
        "signed-by-another",
        "another kernel in the UKI, signed by another key",
        World(changed_pcrs=frozenset({4, 11}), signature_valid=False),
        maintenance=once(
            f"openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {_OWNER_S_KEY}",
            f"openssl pkey -in {_OWNER_S_KEY} -pubout -out {_OWNER_S_KEY.replace('private', 'public')}",
            f"{_UPDATE_UKI} kernel",
        ),
    ),
)
"""What only encrypted roots are put through; updates, only the UKI of images/debian-13-root, which has the tools."""


OF_TOKENS: tuple[Condition, ...] = (
    Condition(
        "key-removed",
        "the FIDO2 security key is not plugged in",
        World(token=TokenState.ABSENT),
        (security_key_removed,),
    ),
    Condition(
        "key-replaced",
        "another FIDO2 security key with the same PIN",
        World(token=TokenState.ANOTHER),
        (security_key_replaced,),
    ),
    Condition(
        "soft-token-removed",
        "the PKCS#11 token's files are gone",
        World(token=TokenState.ABSENT),
        maintenance=once(REMOVE_TOKEN),
    ),
    Condition(
        "soft-token-replaced",
        "another PKCS#11 token of the same label, with a key of its own",
        World(token=TokenState.ANOTHER),
        maintenance=once(REMOVE_TOKEN, NEW_TOKEN),
    ),
    Condition("pin-wrong", "a wrong PIN is typed, once", World(pin_right=False), typed=(WRONG_PIN,)),
    Condition(
        "pin-blocked",
        "three wrong PINs are typed, which block a FIDO2 key until it is plugged in anew, and then the right one",
        World(token=TokenState.PIN_BLOCKED),
        typed=(*(WRONG_PIN,) * 3, FIDO2_PIN),
    ),
)
"""What happens to security tokens; only policies that have one are put through it."""


OF_POWER: tuple[Condition, ...] = (
    Condition(
        "power-cuts",
        "three boots before it ended by a power cut",
        World(power_cuts=POWER_CUTS),
        power_cuts=POWER_CUTS,
    ),
)
"""What takes four boots each, and so is for one machine that has every kind of seal, and for one with a PIN."""


_SILENT_HSM_SECONDS = 900.0
"""systemd looks for the token three times before it asks for the passphrase, and p11-kit connects twice each time, for
75 s until QEMU's network resets the connection; token-timeout= of crypttab(5) does not end that. Seen with systemd 257
and p11-kit 0.25: the prompt came 450 s after the first try.
"""

OF_HSMS: tuple[Condition, ...] = (
    Condition("hsm-stopped", "the HSM refuses", servers=((HSM, Hsm.stop, Server.REFUSED),)),
    Condition(
        "hsm-silent",
        "packets to the HSM vanish",
        servers=((HSM, Hsm.go_silent, Server.SILENT),),
        ask_within=_SILENT_HSM_SECONDS,
    ),
    Condition(
        "hsm-replaced",
        "another HSM at its address, whose token has the same name and another key",
        servers=((HSM, Hsm.replace_key, Server.IMPOSTER),),
    ),
)
"""What happens to an HSM on the network; only policies that have one are put through it."""


def all_conditions() -> tuple[Condition, ...]:
    """Every column: one fault each, maintenance, subsets of the TPM and three servers, and the others above."""
    return (*CONDITIONS, *MAINTENANCE, *subsets(("tang", "two", "three")), *OF_ROOTS, *OF_TOKENS, *OF_HSMS, *OF_POWER)
