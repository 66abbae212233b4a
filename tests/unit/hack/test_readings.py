"""What the program reads out of the answers of others: pip, ctr, DNS and the API server."""

import configparser
from typing import Any

import pytest
from localcluster import api, host_settings


def test_what_the_environment_says_to_pip_comes_over_its_files() -> None:
    listing = ":env:.timeout='9'\nglobal.timeout='5'\nglobal.index-url='https://index.example/simple'\n"
    assert host_settings.settings_of(listing) == {"timeout": "9", "index-url": "https://index.example/simple"}


def test_a_build_gets_the_index_and_the_certificate_but_no_local_folders() -> None:
    settings = {"index-url": "https://index.example/simple", "find-links": "/opt/wheels", "cert": "/somewhere/ca.pem"}
    parsed = configparser.ConfigParser()
    parsed.read_string(host_settings.pip_configuration(settings))
    assert dict(parsed["global"]) == {"index-url": "https://index.example/simple", "cert": host_settings.AUTHORITY_INSIDE}


def test_a_list_of_pip_settings_stays_a_list() -> None:
    parsed = configparser.ConfigParser()
    parsed.read_string(host_settings.pip_configuration({"extra-index-url": "\nhttps://a.example\nhttps://b.example"}))
    assert parsed["global"]["extra-index-url"].split() == ["https://a.example", "https://b.example"]


def node(name: str, ready: str) -> dict[str, Any]:
    return {"kind": "Node", "metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_a_node_counts_only_when_it_says_that_it_is_ready() -> None:
    items = [node("a", "True"), node("b", "Unknown"), {"metadata": {"name": "c"}, "status": {}}]
    assert api.nodes_that_are_ready({"items": items}) == {"a"}


@pytest.mark.parametrize(("since", "back"), [(0.0, True), (4e9, False)], ids=["renewed since", "renewed before"])
def test_a_node_is_back_when_its_lease_was(since: float, back: bool) -> None:
    lease = {"kind": "Lease", "spec": {"renewTime": "2026-01-01T00:00:00.000001Z"}}
    assert api.is_node_back({"items": [node("a", "True"), lease]}, since) is back


def test_a_dns_question_has_its_labels_with_their_lengths() -> None:
    assert api.dns_query("a.example")[12:] == b"\x01a\x07example\x00\x00\x01\x00\x01"
