"""What a policy will do and what an attacker gets, told from the rules in a second, with what real boots say of it.

`answer` puts the answer together: what the rules say under each of the `situations` and of each of the `attackers`, the
warnings (`advice`), a volume's pins as a `tree`, and what boots said of volumes of its `shape` (`recorded`).
`collected` reads a machine in place of a policy file (its `block_devices`, its `crypttab`), `command` reads the files,
`show` prints.

`tree`, `shape`, `attackers`, `advice`, `answer`, `block_devices` and `crypttab` are pure.
"""
