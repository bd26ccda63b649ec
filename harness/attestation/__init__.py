"""What a TPM vouches for, bytes in and a verdict out. Pure.

A node proves to a verifier what it has booted, in three steps; each can be refused, with its reason (`Refusal`)::

    registration   its EK, the certificate of that, and an attestation key: `examine`
    activation     only the TPM that has both keys can read a secret that was made for them: `make_credential`
    quote          PCRs, signed by the attestation key together with the verifier's nonce: `judge`

`structures` reads the bytes of a TPM, `certificate` holds the EK to a certificate authority, `credential` makes the
secret, `verdict` has the judgement. `harness.services.verifier` is the server, ``attest.sh`` what runs on the node.

Source: TCG TPM 2.0 Library, Part 1, 24 (credential protection) and 31 (attestation); TCG EK Credential Profile 2.5.
"""
