"""The firmware's log of what it measured: what each PCR is made of, and the first event in which two boots differ.

``tpm2_eventlog`` of tpm2-tools decodes the bytes (`decode`); what the events are in words, and where two logs part, is
said by `events` and `difference`, which are pure. Source: TCG PC Client Platform Firmware Profile 1.06, section 10.
"""
