"""When a certificate is renewed, and what a bundle's digest depends on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.identity.bundle import certificates_of, digest_of_bundle, join_bundles, make_bundle, pem_of
from mainstay.identity.renewal import (
    Command,
    LeafIssued,
    Renew,
    Renewal,
    RenewalFailed,
    Report,
    SetTimer,
    TimerFired,
)

HOUR = 3_600_000
BEGIN = "-----BEGIN CERTIFICATE-----"
LEAF = LeafIssued(0, 24 * HOUR)


def timer(commands: list[Command]) -> int:
    return next(command.at for command in commands if isinstance(command, SetTimer))


@pytest.mark.parametrize(("random", "due"), [(0.0, 0.4), (0.5, 0.5), (0.999_999, 0.6)])
def test_renewal_begins_at_half_of_life_give_or_take_a_tenth(random: float, due: float) -> None:
    machine = Renewal(lambda: random)
    assert timer(machine.handle(LEAF, 0)) == pytest.approx(due * 24 * HOUR, rel=1e-4)


def test_one_attempt_at_a_time_then_a_new_leaf() -> None:
    machine = Renewal(lambda: 0.5)
    machine.handle(LEAF, 0)
    assert Renew() in machine.handle(TimerFired(), 12 * HOUR)
    assert Renew() not in machine.handle(TimerFired(), 13 * HOUR)
    commands = machine.handle(LeafIssued(13 * HOUR, 37 * HOUR), 13 * HOUR)
    assert timer(commands) == 25 * HOUR


def test_failures_are_retried_until_the_end_and_shown_from_two_thirds() -> None:
    machine = Renewal(lambda: 0.5)
    machine.handle(LEAF, 0)
    now, attempts, shown = 12 * HOUR, 0, list[Report]()
    while now < 25 * HOUR:
        for command in machine.handle(TimerFired(), now):
            if isinstance(command, Renew):
                attempts += 1
                commands = machine.handle(RenewalFailed("no answer"), now)
                shown += [each for each in commands if isinstance(each, Report)]
            if isinstance(command, Report):
                shown.append(command)
        now += 60_000
    assert attempts > 100
    assert [(report.trouble, report.reason) for report in shown] == [
        ("late", "no answer"),
        ("expired", "no answer"),
    ]


def test_trouble_ends_with_the_next_leaf() -> None:
    machine = Renewal(lambda: 0.5)
    machine.handle(LEAF, 0)
    assert Report("late", "") in machine.handle(TimerFired(), 17 * HOUR)
    assert Report("", "") in machine.handle(LeafIssued(17 * HOUR, 41 * HOUR), 17 * HOUR)


def test_leaf_from_disk_that_is_late_is_renewed_at_once() -> None:
    assert Renew() in Renewal(lambda: 0.5).handle(LEAF, 20 * HOUR)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
def test_digest_depends_on_the_certificates_alone(ders: list[bytes]) -> None:
    pems = [pem_of(der) for der in ders]
    there, back = make_bundle("a", pems), make_bundle("a", [f"# a root\r\n{''.join(reversed(pems))}"])
    assert there == back
    assert digest_of_bundle(there) == digest_of_bundle(back)
    assert digest_of_bundle(make_bundle("a", [*pems, pem_of(b"one more" * 9)])) != digest_of_bundle(there)
    assert digest_of_bundle(make_bundle("b", pems)) != digest_of_bundle(there)


def test_old_and_new_root_are_trusted_together() -> None:
    old, new = make_bundle("a", [pem_of(b"old")]), make_bundle("a", [pem_of(b"new")])
    other = make_bundle("b", [pem_of(b"other")])
    joined = join_bundles([old, new, other])
    assert set(joined["a"].roots) == {*old.roots, *new.roots}
    assert joined["b"] == other


@pytest.mark.parametrize(
    "text",
    ["", f"{BEGIN}\nAAAA", f"{BEGIN}\n!\n-----END CERTIFICATE-----"],
)
def test_damaged_pem_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        certificates_of(text)
