# shellcheck shell=bash disable=SC2154
# What is wrong with a TPM, as functions for the line that harness/edge/site.py puts after them and those of store.sh ($handles).

# occupy COUNT: objects of others have those of the first so many handles that were free.
occupy() {
    local handle foreign taken
    foreign=$(mktemp)
    taken=$(tpm2_getcap handles-persistent)
    for handle in "${handles[@]:0:$1}"; do
        ! grep -qi "$handle" <<< "$taken" || continue
        tpm2_createprimary -Q -C o -G ecc -c "$foreign"
        tpm2_evictcontrol -Q -C o -c "$foreign" "$handle"
        flush
    done
    rm "$foreign"
}

# lock_out: one wrong authorization is allowed, and one is made (TPM 2.0 Library, part 1, 19.8).
lock_out() {
    cd "$(mktemp -d)" || return
    tpm2_dictionarylockout -s -n 1 -t 3600 -l 3600
    tpm2_createprimary -Q -C o -c parent
    echo bait | tpm2_create -Q -C parent -i - -p right -u bait.pub -r bait.priv
    flush
    tpm2_load -Q -C parent -u bait.pub -r bait.priv -c bait
    ! tpm2_unseal -c bait -p wrong 2> /dev/null
    flush
    tpm2_getcap properties-variable | grep -q 'inLockout: *1'
}
