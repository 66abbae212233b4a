"""What the doctor makes of what it has seen, and that its page has every word of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from snakepit.cli.doctor import pools, probes, way
from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.facts import REFUSED, Address, Token, Way
from snakepit.cli.doctor.replicas import Heard, are_neighbours, of_replicas
from snakepit.client.findings import Finding
from snakepit.client.views import ReplicaInfo
from snakepit.errors import Unauthenticated

ROOT = Path(__file__).resolve().parents[3]


def replica(**changed: Any) -> ReplicaInfo:
    said = {"id": "r", "version": "0.4.0", "time": datetime.fromtimestamp(100.0, UTC), "store_ready": True, "store_message": ""}
    return ReplicaInfo(**{**said, "not_ready": "", "operator_away_seconds": 0.0, **changed})


def of(*replicas: ReplicaInfo, missing: tuple[str, ...] = (), asked: float = 99.0, answered: float = 101.0) -> list[Finding]:
    return of_replicas(Heard(replicas, missing, asked, answered), "0.4.1")


def test_the_page_has_a_row_for_every_word_and_no_others() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines() if line.startswith("| ")]
    assert {word for row in rows for word in re.findall(r"`([A-Z]\w+[a-z])`", row[1])} - {"SetupFailed"} == set(Code)


def test_every_word_is_made_by_a_test() -> None:
    tests = "".join(each.read_text() for folder in ("integration", "unit") for each in (ROOT / "tests" / folder).rglob("test_doctor*.py"))
    tests += "".join(each.read_text() for each in (ROOT / "tests/integration/doctor").glob("test_*.py"))
    assert [each for each in Code if f"Code.{each.name}" not in tests] == []


def test_replicas_that_are_well_have_nothing() -> None:
    assert of(replica(), replica(id="s")) == []


@pytest.mark.parametrize(
    ("time", "ahead"),
    [(89.5, None), (110.5, None), (88.0, "11 s behind"), (3701.0, "1 h ahead")],
)
def test_a_clock_is_wrong_only_by_what_the_way_of_the_question_does_not_explain(time: float, ahead: str | None) -> None:
    found = of(replica(time=datetime.fromtimestamp(time, UTC)))
    assert [each.reason for each in found] == ([Code.CLOCK_SKEW] if ahead else [])
    assert ahead is None or f"its clock is {ahead} of this machine's" in found[0].message


def test_a_store_that_some_replicas_reach_is_counted() -> None:
    (found,) = of(replica(), replica(id="s", store_ready=False, store_message="timed out"))
    assert found.reason == Code.STORE_UNAVAILABLE
    assert "can't be used from 1 of 2 replicas (timed out)" in found.message


def test_a_replica_that_says_nothing_and_replicas_of_several_versions() -> None:
    silent, mixed = of(replica(), replica(id="s", version="0.5.0"), missing=("10.0.0.1:7800",))
    assert (silent.reason, "10.0.0.1:7800" in silent.message) == (Code.REPLICA_SILENT, True)
    assert (mixed.reason, mixed.severity, "0.4.0, 0.5.0" in mixed.message) == (Code.VERSIONS_MIXED, "note", True)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("0.4.1", "0.4.9", True),
        ("0.4.1", "0.5.0", True),
        ("0.4.1", "0.6.0", False),
        ("1.0.0", "2.0.0", False),
        ("1.2.0.dev3+g12ab", "1.3.0", True),
        ("0.4.1", "unknown", True),
    ],
)
def test_neighbouring_releases(one: str, other: str, near: bool) -> None:
    assert are_neighbours(one, other) is are_neighbours(other, one) is near


def test_one_address_of_several_is_a_replica_and_the_only_one_is_the_way() -> None:
    away, there = Address("snakepit", "10.0.0.1:7800", REFUSED), Address("snakepit", "10.0.0.2:7800")
    assert [each.reason for each in way.of_way(Way("snakepit:7800", (away, there)))] == [Code.REPLICA_AWAY]
    assert [each.reason for each in way.of_way(Way("snakepit:7800", (away,)))] == [Code.NOTHING_LISTENS]
    assert way.of_way(Way("snakepit:7800", (there,))) == []


def test_a_refusal_that_says_no_more_keeps_its_words() -> None:
    (found,) = way.of_refusal(Unauthenticated("the token is none of --token-file's"), Way("a:1"), Token("/t"), 0.0)
    assert (found.about, found.reason) == ("/t", Code.TOKEN_REFUSED)
    assert found.message.startswith("the token is none of --token-file's: make one by")


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a.!!!.c", "a.WzFd.c", "a.bm8.c"])
def test_what_is_no_jwt_has_no_claims(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text)
    token = probes.read_token(str(tmp_path / "token"))
    assert (token.problem, token.claims, token.time("exp")) == ("", {}, None)


def test_the_cluster_says_why_and_the_control_plane_what_it_alone_knows() -> None:
    missing, full = Finding("a/b", Code.CAPSULES_MISSING, "few"), Finding("a/b", Code.QUEUE_FULL, "full")
    why, note = Finding("a/b", "PodRefused", "quota"), Finding("c/d", Code.NOT_LOOKED_AT, "no", severity="note")
    other = Finding("c/d", Code.CAPSULES_MISSING, "few")
    assert pools.merged([missing, full, other], [why, note]) == [full, other, why, note]
