"""The emulated hardware: what there is (`spec`, `domain_xml`; pure) and how it is powered on (`rig`)."""
