"""The guest's side of a boot: bytes in, an outcome out.

Pure, but for `driver`, `console`, `ssh`, `forward` and `facts`, which talk to the guest.

::

    text       bytes of a console → lines, without control sequences and without kernel lines that cut in
    events     what can be seen in a boot
    table      the words that show it: every string of a guest that the project knows
    boot       lines → events
    failures   which pins failed, and whether for good
    plan       what to type, and when; what counts as an end, and what as a broken rig
    witness    what others say about a boot: what was typed, the services, the TPM
    judge      events and witnesses → an outcome, or a `RigError` when they do not agree
    outcome    the verdict

    driver     watches a boot and types what the plan says
    console    commands at a shell on the serial console
    ssh, facts commands in a guest that is up, and what to ask it
    forward    a way from a socket of this host to a port of the guest
"""
