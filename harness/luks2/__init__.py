"""LUKS2 headers, bytes in and bytes out. Pure.

Three modules: `header` is the binary layout with its checksums, `metadata` what the JSON in it says, `splitter` the
anti-forensic splitter that key material is stored through. Nothing here encrypts, and nothing here opens a volume:
cryptsetup does, in a guest.

Source: LUKS2 On-Disk Format Specification 1.1.3; LUKS On-Disk Format Specification 1.2.3 for the splitter.
"""
