"""Policies that an owner makes by hand in the installed guest, by name. Pure.

A scenario names one as it names a Butane file: ``@pytest.mark.policy("cryptenroll-pcr7")``. Where there is a file of
the same name, that is meant.
"""

from collections.abc import Mapping

from harness.policy.enrolment import Enrolment
from harness.policy.new_volume import NewVolume
from harness.policy.pins import (
    CryptenrollPin,
    Fido2Pin,
    HsmPin,
    Parsec,
    ParsecProvider,
    Pkcs11Pin,
    Sss,
    TangPin,
    Tpm2Pin,
    Tpm12Pin,
)
from harness.policy.pins.placeholders import placeholder

_TANG = TangPin("tang", placeholder("URL", "tang"), placeholder("THUMBPRINT", "tang"))

BY_HAND: Mapping[str, Enrolment] = {
    enrolment.name: enrolment
    for enrolment in (
        Enrolment("tpm2-pcr1-7", (Tpm2Pin((1, 7), "sha256"),)),
        Enrolment("tpm2-pcr0", (Tpm2Pin((0,), "sha256"),)),
        Enrolment("two-bindings", (Tpm2Pin(), _TANG)),
        Enrolment(
            "tpm2-by-both-tools",
            (Tpm2Pin(),),
            base="small-var",
            volumes=(NewVolume("srv", "/srv", (CryptenrollPin((7,)),)),),
        ),
        Enrolment("cryptenroll", (CryptenrollPin(),)),
        Enrolment("cryptenroll-pcr7", (CryptenrollPin((7,)),)),
        Enrolment("cryptenroll-pcr0-7", (CryptenrollPin((0, 7)),)),
        Enrolment("cryptenroll-pcr12", (CryptenrollPin((12,)),)),
        Enrolment("cryptenroll-pin", (CryptenrollPin((7,), asks_pin=True),)),
        Enrolment("passphrase-alone"),
        Enrolment("no-fallback-slot", (CryptenrollPin((7,)),), keeps_passphrase=False),
        Enrolment("headless", (CryptenrollPin((7,)),), options=("headless=yes",)),
        Enrolment("fido2", (Fido2Pin(),)),
        Enrolment("fido2-pin", (Fido2Pin(asks_pin=True),)),
        Enrolment("pkcs11", (Pkcs11Pin(),)),
        Enrolment("parsec-tpm", (Parsec(ParsecProvider.TPM),)),
        Enrolment("parsec-mbed-crypto", (Parsec(ParsecProvider.MBED_CRYPTO),)),
        Enrolment("pkcs11-in-tpm", (Pkcs11Pin(in_tpm=True),)),
        Enrolment("hsm", (HsmPin(),)),
        Enrolment("root-tpm2-and-tang", (Sss(2, (Tpm2Pin(), _TANG)),)),
        Enrolment("root-tpm2-or-tang", (Sss(1, (Tpm2Pin(), _TANG)),)),
        Enrolment("root-pcr7", (CryptenrollPin((7,)),)),
        Enrolment("root-pcr11", (CryptenrollPin(initrd_pcr_ids=(11,)),)),
        Enrolment("root-signed-pcr11", (CryptenrollPin(signed_pcr_ids=(11,)),)),
        Enrolment("root-pcr15", (CryptenrollPin(initrd_pcr_ids=(15,), measures=True),)),
        Enrolment("root-pcrlock", (CryptenrollPin(initrd_pcr_ids=(7, 11), pcrlock=True),)),
        Enrolment("root-tpm12", (Tpm12Pin((4, 8, 9)),)),
        Enrolment("root-recovery-key", (CryptenrollPin((7,)),), keeps_passphrase=False, recovery_key=True),
    )
}
