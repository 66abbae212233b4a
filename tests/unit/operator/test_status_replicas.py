"""What a pool's status says of what the control plane's replicas tell: of the store, and which settings they have."""

from __future__ import annotations

import pytest

from support.operator_world import capsule, fleet, pod, pool
from support.statuses import conditions, look


def test_a_store_that_is_away_is_said() -> None:
    found = conditions(look(pool(), pod(0), seen=fleet(store_ready=False, store_message="connection refused")))
    said = "the session store can't be used (connection refused); calls without a session go on"
    assert found["SessionStoreReady"] == ("False", "StoreUnavailable", said)


def test_what_a_store_does_not_promise_is_said_while_all_is_well() -> None:
    found = conditions(look(pool(), pod(0), seen=fleet(store_message="they vanish with it")))
    assert found["SessionStoreReady"] == ("True", "StoreReady", "sessions can be read and written; they vanish with it")


def test_a_store_that_is_away_is_the_one_word_of_a_pool_that_is_available_all_the_same() -> None:
    away = {"store_ready": False, "ready_workers": 1}
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), **away))
    assert conditions(found)["Available"][0] == "True"
    assert found.reason == "StoreUnavailable"
    scaling = look(pool(replicas=2), pod(0), seen=fleet(capsule(pod(0)), **away))
    assert (conditions(scaling)["Progressing"][1], scaling.reason) == ("ScalingUp", "StoreUnavailable")
    assert look(pool(suspended=True), seen=fleet(**away)).reason == "Suspended"


@pytest.mark.parametrize(("mark", "reason"), [(0, "StoreReady"), (80, "SessionsNearlyFull"), (100, "SessionsFull")])
def test_how_full_the_sessions_are_is_told_beside_the_store(mark: int, reason: str) -> None:
    seen = fleet(capsule(pod(0)), ready_workers=1, total_slots=1, sessions_mark=mark)
    finding = conditions(look(pool(replicas=1), pod(0), seen=seen))["SessionStoreReady"]
    assert finding[:2] == ("True", reason)
    assert ("10000" in finding[2]) == bool(mark)


def test_settings_that_every_replica_has_confirmed_are_synced() -> None:
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), held_generation=3))
    assert conditions(found)["Synced"] == ("True", "SettingsConfirmed", "every control-plane replica holds generation 3")
    assert found.synced_generation == 3


def test_a_pool_is_suspended_only_when_every_replica_that_was_heard_has_confirmed_it() -> None:
    pending = look(pool(suspended=True), seen=fleet(behind=1, held_generation=2))
    assert conditions(pending)["Synced"][:2] == ("False", "SettingsPending")
    assert conditions(pending)["Available"][1] == "SettingsPending"
    assert "1 control-plane replica without generation 3" in conditions(pending)["Synced"][2]
    assert (pending.reason, pending.synced_generation) == ("SettingsPending", 2)
    assert look(pool(suspended=True), seen=fleet(held_generation=3)).reason == "Suspended"


def test_settings_that_are_not_confirmed_are_the_one_word_of_a_pool_that_serves() -> None:
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), behind=2))
    assert conditions(found)["Available"][0] == "True"
    assert found.reason == "SettingsPending"


def test_settings_that_a_replica_can_not_take_are_told_with_its_words() -> None:
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), behind=1, refused="call.new: unknown"))
    assert conditions(found)["Synced"] == ("False", "SettingsRefused", "1 control-plane replica without generation 3: call.new: unknown")


def test_a_replica_that_was_not_heard_yet_leaves_it_open_whether_all_have_the_settings() -> None:
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), unheard=1, held_generation=3))
    assert conditions(found)["Synced"][:2] == ("Unknown", "ReplicaUnknown")
    assert found.reason == "Ready"
    assert conditions(look(pool(replicas=1), pod(0)))["Synced"][:2] == ("Unknown", "ControlPlaneUnknown")
