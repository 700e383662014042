"""Wrong passwords are counted by browser, account and address; password checks wait in a short line."""

from __future__ import annotations

import threading

from annotation_ui.web import login_limits
from annotation_ui.web.login_limits import (
    PER_ACCOUNT,
    PER_ACCOUNT_AND_ADDRESS,
    PER_ADDRESS,
    WINDOW,
    Gate,
    LoginLimits,
)

NOW = 1_700_000_000.0


def test_an_account_is_closed_to_one_address_and_open_to_others() -> None:
    limits = LoginLimits()
    told = [limits.failed("ann", "1.1.1.1", None, now=NOW) for _ in range(PER_ACCOUNT_AND_ADDRESS)]
    assert told == [False] * (PER_ACCOUNT_AND_ADDRESS - 1) + [True]  # once, for the audit trail
    assert limits.reached("ann", "1.1.1.1", None, now=NOW)
    assert not limits.reached("ann", "2.2.2.2", None, now=NOW)
    assert not limits.reached("bob", "1.1.1.1", None, now=NOW)
    assert not limits.reached("ann", "1.1.1.1", "a browser of hers", now=NOW)
    assert not limits.reached("ann", "1.1.1.1", None, now=NOW + WINDOW)


def test_an_office_behind_one_address_keeps_its_log_in() -> None:
    limits = LoginLimits()
    for n in range(40):
        limits.failed(f"colleague {n}", "1.1.1.1", None, now=NOW)
    assert not limits.reached("ann", "1.1.1.1", None, now=NOW)
    for n in range(PER_ADDRESS - 40):
        limits.failed(f"guess {n}", "1.1.1.1", None, now=NOW)
    assert limits.reached("ann", "1.1.1.1", None, now=NOW)
    assert not limits.reached("ann", "1.1.1.1", "a browser of hers", now=NOW)


def test_many_machines_share_the_limit_of_an_account() -> None:
    limits = LoginLimits()
    for n in range(PER_ACCOUNT):
        assert not limits.reached("ann", f"10.0.0.{n}", None, now=NOW)
        limits.failed("ann", f"10.0.0.{n}", None, now=NOW)
    assert limits.reached("ann", "10.9.9.9", None, now=NOW)


def test_the_memory_is_bounded() -> None:
    limits = LoginLimits()
    for n in range(login_limits.KEYS):
        limits.failed(f"name {n}", f"address {n}", None, now=NOW)
    assert len(limits._failures) == login_limits.KEYS


def test_a_gate_lets_one_in_and_a_few_wait() -> None:
    gate, release, inside = Gate(places=3), threading.Event(), threading.Event()
    entered: list[bool] = []

    def check() -> None:
        with gate.entered() as one:
            entered.append(one)
            inside.set()
            release.wait(20)

    threads = [threading.Thread(target=check) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert inside.wait(20)
    while gate._places._value:  # type: ignore[attr-defined]  # until all three hold a place
        pass
    with gate.entered() as fourth:
        assert not fourth
    assert entered == [True]
    release.set()
    for thread in threads:
        thread.join()
    assert entered == [True] * 3
    with gate.entered() as again:
        assert again
