"""`make audit AUDIT_DATABASE=folder`: which records of the folder a package's version is in, and how they are asked for."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import advisories
import audit
import pytest
import yaml

CHANGED = "2026-11-29T10:00:00Z"
EVENTS = [{"introduced": "2.0"}, {"fixed": "2.0.5"}, {"introduced": "3.0"}, {"last_affected": "3.1"}]
RANGE: dict[str, Any] = {"type": "ECOSYSTEM", "events": EVENTS}
GIT: dict[str, Any] = {"type": "GIT", "events": [{"introduced": "0"}]}


def record(name: str, **affected: Any) -> dict[str, Any]:
    about = {"package": {"name": "A.Package", "ecosystem": "PyPI"}, **affected}
    return {"id": name, "modified": CHANGED, "affected": [about]}


RECORDS = [
    record("LISTED", versions=["1.0", "1.1", "of old"], ranges=[GIT]),
    record("IN A RANGE", ranges=[GIT, RANGE]),
    record("OF ALL"),
    {**record("TAKEN BACK"), "withdrawn": "2026-11-29T10:00:00Z"},
    {"id": "OF GO", "affected": [{"package": {"name": "a-package", "ecosystem": "Go"}}]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a checkout has them, where people leave quotes out of versions and times, and as OSV exports them."""
    for number, each in enumerate(RECORDS):
        text = json.dumps(each) if number % 2 else yaml.safe_dump(each).replace("'", "")
        file = tmp_path / "vulns" / f"{number}.{'json' if number % 2 else 'yaml'}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("1.0.0", {"LISTED"}),
        ("1.2", set()),
        ("2.0rc1", set()),
        ("2.0", {"IN A RANGE"}),
        ("2.0.4", {"IN A RANGE"}),
        ("2.0.5", set()),
        ("3.1", {"IN A RANGE"}),
        ("3.1.post1", set()),
    ],
)
def test_a_version_is_in_a_record_that_lists_it_has_it_in_a_range_or_says_nothing_of_versions(
    folder: Path, version: str, found: set[str]
) -> None:
    known = advisories.Advisories(folder)
    assert {each["id"] for each in known.about("a_package", version)} == found | {"OF ALL"}
    assert known.about("another", version) == []
    assert (known.count, known.newest) == (3, "2026-11-29")


def test_it_is_asked_as_osv_is(folder: Path) -> None:
    with advisories.served(advisories.Advisories(folder)) as url:

        def ask(name: str) -> Any:
            question = json.dumps({"package": {"name": name, "ecosystem": "PyPI"}, "version": "1.0"}).encode()
            with urllib.request.urlopen(url, question, timeout=10) as answer:
                return json.load(answer)

        found = ask("a-package")["vulns"]
        assert {(each["id"], each["modified"]) for each in found} == {("LISTED", CHANGED), ("OF ALL", CHANGED)}
        assert ask("another") == {}


def test_a_folder_without_records_is_no_good_news(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no records of PyPI in OSV's format"):
        audit.asked_of_a_folder(tmp_path, [])


@pytest.mark.parametrize("name", ["it.yaml", "it.json"])
def test_a_file_that_is_broken_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match=f"{name} can't be read"):
        advisories.Advisories(tmp_path)


def test_a_range_whose_version_is_none_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text(json.dumps(record("ODD", ranges=[{"type": "ECOSYSTEM", "events": [{"introduced": "of old"}]}])))
    with pytest.raises(ValueError, match=r"it\.json has a range with 'of old', which is no version"):
        advisories.Advisories(tmp_path)
