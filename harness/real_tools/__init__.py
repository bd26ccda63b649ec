"""The second level between the rules and real boots: the guest's own tools, a real TPM and real Tang, and no machine.

clevis, cryptsetup and tpm2-tools come from a guest image, whose files are the root of a namespace (`toolbox`); the TPM
is swtpm, the servers are Tang's containers behind their fault proxies, the volume is a LUKS header in a file. A cell
(a policy in one state of the world) takes about a second, where a boot takes a minute. What only a boot can tell
(prompts, initrds, time, the firmware's measurements) this level leaves out.
"""
