"""A laboratory for automatic disk unlock.

It builds real machines (QEMU through libvirt, OVMF, swtpm), real Tang servers (containers), installs a real
guest with the user's encryption config, changes one thing about the world, boots, and says what the disk did,
how it knows, and whether that is what the policy promises.

The nouns
=========
policy          what the user wrote: pins, thresholds, keyslots. Pure data (`policy.policy`), read from Butane.
pin kind        one sort of pin: how it is bound, when it holds, what shows that it failed (a module of `policy.pins`).
machine         disk, TPM state, NVRAM, firmware, NICs: frozen data that says what hardware there is (`machine.spec`).
sealed machine  a machine with a policy installed that has auto-unlocked once (its control boot); cached and copied
                as one unit (`lab.sealed`).
fault           one change to the world: a function from machine to machine (`lab.faults`), or a verb on a server.
service         what a guest talks to while it boots, at the same place in each guest's own network (`services`).
boot            one power-on, watched on the serial console until it is judged (`guest`).
outcome         what was observed, and what proves it (`guest.outcome`).
rig             the emulated hardware around one boot (`machine.rig`). When it breaks that is an error of the rig,
                never an outcome.
canary          a random secret on the encrypted volume.
attacker        has exactly what a scenario grants (`attack.grants`); an attack succeeded iff the attacker printed the
                canary, or a volume key that the LUKS header vouches for.
evidence        what a boot leaves behind, one folder a test (`evidence`).

The rooms
=========
Imports go one way, from the top of this list to the bottom; `tests/test_architecture.py` holds that::

    plugin, __main__, commands   options and commands, no logic
    fixtures           what a scenario asks pytest for
    api/               what scenario files import; `api.attack` and `api.edge` what some import besides
    doctor, housekeeping   what this host has and lacks; what stays on it between runs
    prove/             what the rules say of a file, booted: one boot for each class of conditions, then attacks
    edge/              a model of the document of Avassa's Edge Enforcer, not of its code: shares, hosts, a tower
    real_tools/        a policy tried by the guest's own tools, a real TPM and real Tang, without a machine
    bench              where the time of a boot goes
    explain/           what a policy will do and what an attacker gets, told from the rules, without a boot
    campaign/          which scenarios run, in what order, on which worker; how long that takes here
    matrix/            the truth table: policies down, conditions across, each cell booted and predicted
    attack/            what an attacker is granted, their machines, and what they got out
    lab/               install, control boot, copy, fault, boot; the rescue system
    evidence/          artifacts, outcome.json, report
    guest/             console bytes, events, outcome (pure); shell, the driver of a boot
    machine/           spec and domain XML, disks, TPMs, firmware, hypervisors (libvirt, bare QEMU), the rig
    services/          what a guest talks to while it boots: Tang (container), its keys, its log
    network/           each guest's own network, and the fault proxy before its services
    images             builds what the folders of images/ describe
    host/              what this host has, lacks and must start
    policy/            pins, Butane, Ignition, the oracle (pure, but for what reads the file)
    attestation/       what a TPM vouches for: keys, certificates, quotes (pure)
    event_log/         what the firmware measured, in words, and where two boots part
    luks2/             LUKS2 headers and the splitter, bytes in and bytes out (pure)
    unlock             what a disk can do at a boot: observed, and predicted (pure)
    cache, process     what is slow to make, kept; commands run to their end
    contract           the names in the guest contract (pure)
    temporary          folders that are removed when their process exits
    contents, ownership, untrusted   what is recorded of a folder; whose it is; what another user can change in it
    files, progress, paths, plain, deadline, errors, defaults
"""
