"""Which libvirt machines can run under."""

import pytest

from harness.errors import UsageError
from harness.host.session import require_local


@pytest.mark.parametrize(
    "uri",
    [
        "qemu:///session",
        "qemu:///system",
        "qemu+unix:///session?socket=/run/unlock-lab/session/run/libvirt/libvirt-sock",
    ],
)
def test_a_libvirt_of_this_host_will_do(uri: str) -> None:
    require_local(uri)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("qemu+ssh://lab@far.example/system", "another host"),
        ("qemu://far.example/system", "another host"),
        ("qemu+tls://far.example/system", "another host"),
        ("qemu+ssh:///system", "another host"),
        ("qemu+libssh2://far/session", "another host"),
        ("test:///default", "not qemu"),
        ("xen:///system", "not qemu"),
        ("lxc:///", "not qemu"),
        ("", "not qemu"),
        ("qemu", "not qemu"),
        ("qemu:///embed?root=/tmp/x", "daemon"),
        ("qemu://[far/system", "Invalid IPv6 URL"),
    ],
)
def test_a_libvirt_that_cannot_work_is_refused_with_the_reason(uri: str, reason: str) -> None:
    with pytest.raises(UsageError, match="cannot run under") as refused:
        require_local(uri)
    assert reason in refused.value.detail
    assert "qemu:///session" in refused.value.hint
