"""Files that people have for the same purpose and that are no policy files: what each is, and what to do (pure).

They are known by words that the other forms do not have, and told before YAML is read: most are none.
"""

import re
from dataclasses import dataclass

_READ = 2**16
"""Characters that are looked at: what a file is shows at its beginning."""

_AS_BUTANE = "write what it encrypts as Butane (variant: fcos, storage.luks)"

_NOT_OTHER = re.compile(r"""^\s*["']?(variant|ignition)["']?\s*:""", re.MULTILINE)


@dataclass(frozen=True)
class OtherForm:
    """A form that is not read.

    Attributes:
        what: What it is, and what reads it.
        todo: What to do with it.
        signs: Patterns that are all there; the first one's line is told.
    """

    what: str
    todo: str
    signs: tuple[str, ...]


_FORMS = (
    OtherForm(
        "an autoinstall file, which Ubuntu's installer reads",
        "its dm_crypt is storage.luks of a Butane file (variant: fcos)",
        (r"^autoinstall:",),
    ),
    OtherForm(
        "a cloud-config, which cloud-init reads", _AS_BUTANE, (r"\A(?:## template: *jinja\s*\n)?#cloud-config\b",)
    ),
    OtherForm(
        "a Kickstart file, which Anaconda reads",
        "its part --encrypted is storage.luks of a Butane file (variant: fcos), its clevis luks bind the clevis there",
        (r"^(?:%(?:packages|post|pre)\b|#version=|(?:autopart|clearpart|zerombr|part|partition|logvol)(?: |$))",),
    ),
    OtherForm(
        "a preseed file, which Debian's installer reads",
        "its partman-crypto is storage.luks of a Butane file (variant: fcos)",
        (r"^(?:d-i|debconf|tasksel)\s+\S+/\S+\s+\S+",),
    ),
    OtherForm(
        "a Combustion script, which openSUSE's first boot runs",
        f"{_AS_BUTANE}, as that first boot takes it too",
        (r"^# *combustion:", r"\A#!"),
    ),
    OtherForm(
        "a machine config of Talos",
        "its systemDiskEncryption is storage.luks of a Butane file (variant: fcos): the key tpm is tpm2 there",
        (r"^(?:apiV|v)ersion: *v1alpha1\b", r"^(?:machine:|kind: *\w+Config\b)"),
    ),
    OtherForm(
        "a NixOS configuration",
        "its boot.initrd.luks is storage.luks of a Butane file (variant: fcos), boot.initrd.clevis the clevis there",
        (r"\A(?:\s|#[^\n]*\n)*(?:\w+@)?\{[^{}]*\}(?:@\w+)?\s*:\s",),
    ),
    OtherForm(
        "an Ansible playbook",
        f"{_AS_BUTANE}, and the rest as commands of an owner (Enrolment)",
        (r"^(?:- |  )hosts:", r"^(?:- |  )(?:tasks|roles|pre_tasks|vars):"),
    ),
    OtherForm(
        "a crypttab", f"{_AS_BUTANE}; options are an owner's (Enrolment)", (r"^\w\S*\s+(?:UUID=|/dev/)\S+\s+\S+",)
    ),
    OtherForm("a script", f"{_AS_BUTANE}, and what it runs as commands of an owner (Enrolment)", (r"\A#!\s*/",)),
)


def other_form(text: str) -> tuple[str, int] | None:
    """What a text is that is no policy file.

    Returns:
        One sentence, and the line where it shows, from 1; None if it is no form that is known here.
    """
    text = text.removeprefix("\ufeff")[:_READ]
    if _NOT_OTHER.search(text):
        return None
    for form in _FORMS:
        found = [re.search(sign, text, re.MULTILINE) for sign in form.signs]
        if found[0] and all(found):
            return f"this is {form.what}; {form.todo}", text[: found[0].start()].count("\n") + 1
    return None
