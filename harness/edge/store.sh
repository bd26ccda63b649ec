# shellcheck shell=bash
# A controller host's share on its disk, as functions for the line that harness/edge/store.py puts after them. $1 is always the folder
# of the host; what the share is protected by is told by the files in it alone:
#
#   share/plain               in clear
#   share/parsec              encrypted by Parsec, a line for each piece (RSA takes 245 bytes)
#   share/tpm, iv, handle     encrypted by an AES-256-CFB key of the TPM
#   share/sha256              of the share: AES-CFB does not tell a wrong key
#   key-name                  the name of the TPM's key, so that it is known again
#
# A protected share is in clear in memory alone (/run): what a file system has removed can still be read on its disk.
handles=(0x81000002 0x81000003 0x81000004 0x81000005)
attributes='fixedtpm|fixedparent|sensitivedataorigin|userwithauth|decrypt|sign|noda'
parsec_key=edge-share

# What the kernel's resource manager does for each program that ends; a TPM on a socket has none.
flush() { for what in -t -l -s; do tpm2_flushcontext $what > /dev/null 2>&1 || true; done; }

name_at() { tpm2_readpublic -Q -c "$1" -n "$2" 2> /dev/null; }

# The handle of our key: where it is already, or else made at the first that is free.
own_handle() {
    local folder=$1 taken handle found
    taken=$(tpm2_getcap handles-persistent)
    found=$(mktemp)
    for handle in "${handles[@]}"; do
        if grep -qi "$handle" <<< "$taken" && [[ -s $folder/key-name ]] && name_at "$handle" "$found" && cmp -s "$found" "$folder/key-name"; then
            echo "$handle"
            return
        fi
    done
    for handle in "${handles[@]}"; do
        if ! grep -qi "$handle" <<< "$taken"; then
            tpm2_createprimary -Q -C o -g sha256 -G aes256cfb -a "$attributes" -c "$found" > /dev/null &&
                tpm2_evictcontrol -Q -C o -c "$found" "$handle" > /dev/null && name_at "$handle" "$folder/key-name" || return 1
            flush
            echo "$handle"
            return
        fi
    done
    return 2
}

# probe FOLDER: says `parsec`, `tpm2-tools HANDLE`, or `none REASON`.
probe() {
    local folder=$1 commands handle test
    if parsec-tool ping > /dev/null 2>&1; then
        echo parsec
        return
    fi
    if ! commands=$(tpm2_getcap commands 2> /dev/null); then
        echo 'none there is no TPM'
        return
    fi
    if ! grep -q TPM2_CC_EncryptDecrypt2 <<< "$commands"; then
        echo 'none the TPM has no TPM2_CC_EncryptDecrypt2'
        return
    fi
    handle=$(own_handle "$folder" 2> /dev/null) || {
        if [[ $? == 2 ]]; then echo "none no handle of ${handles[0]}-${handles[-1]} is free"; else echo 'none the TPM makes no key'; fi
        return
    }
    test=$(mktemp -d)
    head -c 16 /dev/urandom > "$test/iv"
    echo probe > "$test/data"
    if tpm2_encryptdecrypt -Q -c "$handle" --iv "$test/iv" -o "$test/encrypted" "$test/data" > /dev/null 2>&1; then
        echo "tpm2-tools $handle"
    else
        echo 'none the TPM does not use its key'
    fi
    flush
    rm -r "$test"
}

# write_share FOLDER plaintext|parsec|tpm2-tools HANDLE SHARE
write_share() {
    local folder=$1 form=$2 handle=$3 share=$4 new piece
    new=$(mktemp -d "$folder/new.XXXXXX")
    printf %s "$share" | sha256sum | cut -c -64 > "$new/sha256"
    case $form in
    plaintext) printf %s "$share" > "$new/plain" ;;
    parsec)
        parsec-tool list-keys 2> /dev/null | grep -q "^\* $parsec_key " || parsec-tool create-rsa-key --key-name "$parsec_key"
        while read -r -N 200 piece || [[ $piece ]]; do
            parsec-tool encrypt --key-name "$parsec_key" "$piece"
        done <<< "$share" > "$new/parsec"
        ;;
    tpm2-tools)
        head -c 16 /dev/urandom > "$new/iv"
        printf %s "$share" | tpm2_encryptdecrypt -Q -c "$handle" --iv "$new/iv" -o "$new/tpm"
        flush
        echo "$handle" > "$new/handle"
        ;;
    esac
    sync
    rm -rf "$folder/share"
    mv "$new" "$folder/share"
}

# read_share FOLDER [unchecked]: prints the share; the digest tells whether it is that which was written.
read_share() {
    local folder=$1/share check=${2-} clear said line
    clear=$(mktemp -p /run) said=$(mktemp)
    if [[ -e $folder/plain ]]; then
        cp "$folder/plain" "$clear"
    elif [[ -e $folder/parsec ]]; then
        while read -r line; do
            parsec-tool decrypt --key-name "$parsec_key" "$line" 2> "$said" | head -c -1 || {
                cat "$said" >&2
                return 1
            }
        done < "$folder/parsec" > "$clear"
        truncate -s -1 "$clear"      # the line end of the string that was encrypted
    elif [[ -e $folder/tpm ]]; then
        tpm2_encryptdecrypt -Q -d -c "$(cat "$folder/handle")" --iv "$folder/iv" -o "$clear" "$folder/tpm"
        flush
    else
        echo 'there is no share' >&2
        return 1
    fi
    if [[ -z $check ]] && ! sha256sum "$clear" | grep -q "^$(cat "$folder/sha256") "; then
        echo 'what was decrypted is not the share: another key' >&2
        return 4
    fi
    cat "$clear"
    rm "$clear" "$said"
}

# form_of FOLDER: how the share lies there.
form_of() {
    if [[ -e $1/share/plain ]]; then echo plaintext; elif [[ -e $1/share/parsec ]]; then echo parsec; elif [[ -e $1/share/tpm ]]; then echo tpm2-tools; fi
}

# forget FOLDER: all that a host had.
forget() { rm -rf "$1/share" "$1/key-name"; }
