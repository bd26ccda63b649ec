"""A model of the document of Avassa's Edge Enforcer, not of its code: there is no public code.

The document is "Using a TPM or an HSM" (seed 002). A site has n controller hosts and a Control Tower. What opens the
site is the seal key; the tower keeps it, encrypted to the site. A token fetches it, which is encrypted to the site,
too, and split by Shamir's secret sharing: one share a host, which a TPM or Parsec may protect.

protection   where a share is stored, as ``protect-with-tpm`` has it, and what is said of that
host         the life of a controller host, as a table of states and events
seal         the seal key, the site key, the token and its shares: real cryptography
tower        the Control Tower
store        a share on a host's disk, by the guest's own tpm2-tools or Parsec: `store.sh`
site         hosts without machines, each with a disk of its own and a real TPM
machine      hosts that are real machines, on one segment
faults       what is wrong with a TPM

What the model decides where the document says nothing: the private half of the site key lies in clear on each host's
disk; a host gives its share to whoever asks for it in the site's network; a digest is stored beside the share, since
AES-CFB does not tell a wrong key (`store`); the TPM's key is not subject to dictionary-attack protection, since three
power cuts would lock it out; a host says in words of its own why the TPM cannot be used.
"""
