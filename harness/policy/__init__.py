"""What the user wrote: pins, thresholds, keyslots, read from Butane and written as Ignition.

Pure: no machine, no network, no I/O beyond the policy file and what it names; the one process is `butane`, on hosts
that have it.

schema, document   what Butane's keys are; a file as values and lines, each mistake with file, line and key
checks, clevis     the rules between keys (of files: `check_files`); the tree of pins
translate          to an Ignition config, as Butane does; `butane_command` is the real one; `urls` hold contents
butane, ignition   the way in (`read_policy`) and the way out (`render`)
pins, enrolment    what a policy says; what an owner adds by hand in the installed guest
maintenance        what an owner does to the volumes of a machine in use
world, oracle      the state of the world at a boot; what a volume then does, and why
extract            what an attacker gets out, by what he is able to do
"""
