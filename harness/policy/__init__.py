"""What the user wrote: pins, thresholds, keyslots, read from Butane and written as Ignition.

Pure, but for `reader`, `translate`, `referenced` and `butane`: they read the policy file and what it names, and nothing
else.

variants           what a policy file may be: Butane by variant and version, Ignition by its spec
other_forms        what people have for the same purpose, and is no policy file
nodes, scalars     text to nodes with lines, bounded so that no text is slow; a single value
schema, reader     what Butane's keys are; nodes to values by them
document           a file's values and lines, its mistakes with file, line and key, all told in one round
checks, clevis     the rules between keys (`check_files`, `check_units`, `check_boot_device`); a section's tree of pins
translate          to an Ignition config, as Butane does: `sugar` writes what Butane generates, `merge` lays configs
                   over one another, `urls` hold contents
referenced         the configs that a config names, merged as Ignition merges them
fit                a config fitted to the guest: what its Ignition is too old for, which users it lacks
butane, ignition   the way in (`read_policy`) and the way out (`render`)
policy, pins/      what a policy says; what each kind of pin is, and everything that is asked about it
enrolment          what an owner adds by hand in the installed guest
maintenance        what an owner does to the volumes of a machine in use
world, oracle      the state of the world at a boot; what a volume then does, and why
capabilities, extract   what an attacker can do; what they get out by it
"""
