#!/bin/bash
# attest.sh URL [FOLDER]: register this machine's TPM with the verifier at URL, and give it a quote. What passes stays in FOLDER.
# Ends well when the verifier took what it was sent; whether it trusts the machine is the verifier's to say.
# Source: tpm2_createek(1), tpm2_createak(1), tpm2_activatecredential(1), tpm2_quote(1).
set -euo pipefail
url=$1
cd "${2:-$(mktemp -d)}"

# The kernel flushes what a program leaves in the TPM; where a TPM is reached by a socket, nobody does.
flush() {
    [[ ${TPM2TOOLS_TCTI-} != swtpm:* ]] || for what in -t -s -l; do tpm2_flushcontext $what || true; done
}
# ask VERB FILE...: send files in base64, as one JSON object, and print the answer.
ask() {
    local verb=$1 file arguments=()
    shift
    for file; do arguments+=(--arg "$file" "$(base64 -w0 "$file")"); done
    # shellcheck disable=SC2016 # it is jq's
    jq -n "${arguments[@]}" '$ARGS.named' | curl -sS --fail-with-body --max-time 60 --json @- "$url/$verb"
}

tpm2_createek -Q -c ek.ctx -G rsa -u ek
flush
tpm2_createak -Q -C ek.ctx -c ak.ctx -G ecc -g sha256 -s ecdsa -u ak
flush
tpm2_nvread -Q -o certificate 0x1c00002 # TCG EK Credential Profile, 2.2.1.4: of the RSA key of 2048 bits
ask register certificate ek ak | jq -r .credential | base64 -d > credential

tpm2_startauthsession -Q --policy-session -S session.ctx
tpm2_policysecret -Q -S session.ctx -c e
tpm2_activatecredential -Q -c ak.ctx -C ek.ctx -i credential -o secret -P session:session.ctx
tpm2_flushcontext session.ctx
flush
read -r nonce pcrs < <(ask activate secret | jq -r '"\(.nonce) \(.pcrs)"')

tpm2_quote -Q -c ak.ctx -l "$pcrs" -q "$nonce" -m message -s signature -f plain -o values -g sha256 --pcrs_format=values
flush
ask quote message signature values
