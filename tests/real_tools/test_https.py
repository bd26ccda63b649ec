"""What clevis trusts of a Tang server behind https: the system's CAs. A CA that a config brings is Ignition's own."""

from collections.abc import Iterator

import pytest
from key_box import KeyBox, key_tools

pytestmark = pytest.mark.real

SERVER = r"""
cd $lab
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out ca.pem \
    -subj /CN=tang -addext subjectAltName=IP:127.0.0.1 2>/dev/null
jose jwk gen -i '{"alg":"ES512"}' -o sign.jwk
jose jwk gen -i '{"alg":"ECMR"}' -o exchange.jwk
thumbprint=$(jose jwk thp -i sign.jwk)
mkdir -p adv
jose jwk pub -s -i sign.jwk -i exchange.jwk -o - |
    jose jws sig -I- -s '{"protected":{"cty":"jwk-set+json"}}' -k sign.jwk -o adv/$thumbprint
openssl s_server -accept 127.0.0.1:4433 -cert ca.pem -key key.pem -WWW -quiet &
trap "kill $!" EXIT
url=https://127.0.0.1:4433
timeout 20 sh -c "until curl -skf $url/adv/$thumbprint; do :; done" >/dev/null
seal() { echo secret | clevis encrypt tang "{\"url\":\"$url\",\"thp\":\"$thumbprint\"}"; }
"""
"""An advertisement such as Tang's, behind a certificate of no CA that the guest knows, and a client of it."""


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyBox]:
    with key_tools("debian-13") as opened:
        yield opened


def test_clevis_asks_a_server_whose_ca_the_system_knows_and_no_other(keys: KeyBox) -> None:
    """``harness.policy.before_boot`` says so of a file's CA. Source: clevis-encrypt-tang, curl(1); clevis#175."""
    status, said = keys.attempt(f"{SERVER}\nseal")
    assert status != 0
    assert "Unable to fetch advertisement" in said
    status, said = keys.attempt(f"{SERVER}\nmount --bind ca.pem /etc/ssl/certs/ca-certificates.crt; seal")
    assert status == 0, said
    assert said.strip().count(".") == 4, "no JWE in compact form (RFC 7516, section 7.1)"
