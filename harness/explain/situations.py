"""The conditions that a policy can be asked about: the columns of the truth table, and which scenario shows each."""

from collections.abc import Iterator, Mapping, Sequence

from harness.errors import UsageError
from harness.explain.answer import Situation
from harness.matrix.condition import Condition
from harness.matrix.conditions import CONDITIONS, MAINTENANCE, OF_ROOTS, OF_TOKENS, subsets
from harness.policy.policy import Policy, Volume

SCENARIOS: Mapping[str, str] = {
    "present": "test_control.py::test_control_unlocks_with_nothing_typed",
    "tpm-absent": "test_tpm.py::test_tpm_disabled_asks_for_the_passphrase",
    "tpm-replaced": "test_tpm.py::test_tpm_replaced_asks_for_the_passphrase",
    "tpm-locked-out": "test_attack_tpm_state.py::test_tpm_da_lockout",
    "tang-silent": "test_tang.py::test_tang_blackhole_leaves_the_prompt_usable",
    "tang-rotated": "test_tang.py::test_tang_key_rotated_then_deleted",
    "tang-deleted": "test_tang.py::test_tang_key_rotated_then_deleted",
    "tang-imposter": "test_attack_tang.py::test_tang_imposter_opens_nothing_and_is_not_bound_to",
    "without tang": "test_tang.py::test_tang_down_asks_for_the_passphrase",
    "firmware-update": "test_measured_boot.py::test_firmware_swap_asks_for_the_passphrase_when_pcr_0_is_bound",
    "secure-boot-on": "test_measured_boot.py::test_unsigned_uki_is_refused_under_secure_boot",
    "key-enrolled": "test_measured_boot.py::test_pcr_changed_asks_for_the_passphrase",
    "cmdline": "test_attack_cmdline.py::test_smbios_cmdline_opens_a_seal_to_pcr_4_or_7_and_not_one_to_pcr_12",
    "token-removed": "test_attack_header.py::test_unbound_token",
    "regenerated": "test_maintenance.py::test_tang_rotation_in_the_right_order",
    "regenerated-late": "test_maintenance.py::test_tang_rotation_in_the_wrong_order",
    "threshold-edited": "test_homelab.py::test_from_two_pins_to_one_and_back_on_a_running_machine",
    "unbound": "test_maintenance.py::test_unbound_it_asks_though_all_is_well",
    "firmware-renewed": "test_maintenance.py::test_firmware_update_with_recovery_and_enrolment_anew",
    "kernel-updated": "test_signed_policy.py::test_raw_pcr_11_asks_after_a_kernel_update",
    "signed-by-another": "test_signed_policy.py::test_signed_policy_asks_when_another_key_has_signed",
}
"""``file::function`` below scenarios/, by the name of the condition; a test holds that each is there."""


def situations(policy: Policy, *, root: bool) -> Iterator[Situation]:
    """What can be asked of a policy.

    Args:
        policy: Conditions of Tang servers are left out where it has none, and maintenance that no owner can do to it.
        root: Whether its volumes are opened by the initrd of an image with an encrypted root.
    """
    servers = policy.tang_servers
    tokens = any(leaf.carried for leaf in policy.leaves)
    of_others = (*(OF_ROOTS if root else ()), *(OF_TOKENS if tokens else ()))
    for condition in (*CONDITIONS, *MAINTENANCE, *subsets(servers), *of_others):
        if condition.servers and not condition.maintenance and not servers:
            continue  # nothing else is done under it
        if can_be_done(condition, policy.volumes):
            yield _situation(condition, servers)


def can_be_done(condition: Condition, volumes: Sequence[Volume]) -> bool:
    """Whether its maintenance changes something, and can be done.

    Without a passphrase no binding is made anew, and none is made to a server that the volumes do not know.
    """
    if condition.maintenance is None:
        return True
    try:
        result = condition.maintenance(volumes)
    except UsageError:
        return False
    return bool(result.commands) and _servers(result.volumes) <= _servers(volumes)


def _servers(volumes: Sequence[Volume]) -> set[str]:
    return {server for volume in volumes for server in volume.tang_servers}


def _situation(condition: Condition, servers: tuple[str, ...]) -> Situation:
    only = f"without {servers[0]}" if len(servers) == 1 else None
    scenario = SCENARIOS.get("without tang" if condition.name == only else condition.name)
    return Situation(condition.name, condition.about, condition.world_of, condition.becomes, scenario)
