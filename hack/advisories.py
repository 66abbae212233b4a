"""A database of vulnerabilities that lies in a folder, asked as OSV is: for `make audit` where nobody else can be asked.

The folder has records in OSV's format, as YAML or JSON: a checkout of github.com/pypa/advisory-database, or what OSV exports of PyPI.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

Record = dict[str, Any]

MOST_BYTES = 64 * 1024
"""Of a question."""


class Advisories:
    """`count` records, the newest of them changed on the day `newest`. Raises ValueError where there is none, or a file is broken."""

    def __init__(self, folder: Path) -> None:
        self._of: dict[str, list[Record]] = defaultdict(list)
        self.count, self.newest = 0, ""
        for file in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.json")]):
            self._read(file)
        if not self.count:
            raise ValueError(f"{folder} has no records of PyPI in OSV's format: check out github.com/pypa/advisory-database there")

    def _read(self, file: Path) -> None:
        record = _parsed(file)
        if not isinstance(record, dict) or record.get("withdrawn"):
            return
        _check_ranges(record, file)
        names = {canonicalize_name(each["package"]["name"]) for each in _affected(record)}
        for name in names:
            self._of[name].append(record)
        self.count += bool(names)
        self.newest = max(self.newest, record.get("modified", "")[:10])

    def about(self, name: str, version: str) -> list[Record]:
        """What is known of that version of a package."""
        name = canonicalize_name(name)
        return [record for record in self._of.get(name, ()) if any(_is_in(each, name, version) for each in _affected(record))]


def _parsed(file: Path) -> Any:
    """In YAML, too, versions and times are text, whether or not somebody has put them in quotes. Raises ValueError."""
    try:
        text = file.read_text()
        return json.loads(text) if file.suffix == ".json" else yaml.load(text, yaml.CBaseLoader)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{file} can't be read, so nothing is known to be good: {error}") from error


def _check_ranges(record: Record, file: Path) -> None:
    """Raises ValueError, which names the file, for a version that can't be compared with another."""
    for text in (text for each in _affected(record) for one in _ranges(each) for event in one["events"] for text in event.values()):
        try:
            Version(text)
        except InvalidVersion:
            raise ValueError(f"{file} has a range with {text!r}, which is no version, so nothing is known to be good") from None


def _affected(record: Record) -> list[Record]:
    return [each for each in record.get("affected", ()) if each.get("package", {}).get("ecosystem") == "PyPI"]


def _ranges(affected: Record) -> list[dict[str, Any]]:
    return [each for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM"]


def _is_in(affected: Record, name: str, version: str) -> bool:
    """Is that version among those that are listed, or in a range? One that has neither is taken for all."""
    if canonicalize_name(affected["package"]["name"]) != name:
        return False
    listed, ranges, asked = affected.get("versions", ()), _ranges(affected), Version(version)
    return not (listed or ranges) or any(_same(each, asked) for each in listed) or any(_is_within(each["events"], asked) for each in ranges)


def _same(listed: str, asked: Version) -> bool:
    try:
        return Version(listed) == asked
    except InvalidVersion:
        return False


def _is_within(events: list[dict[str, str]], asked: Version) -> bool:
    """As OSV evaluates a range: event by event, by version."""
    inside = False
    for kind, version in sorted(((kind, Version(text)) for each in events for kind, text in each.items()), key=lambda event: event[1]):
        if kind == "introduced" and asked >= version:
            inside = True
        elif (kind == "fixed" and asked >= version) or (kind == "last_affected" and asked > version):
            inside = False
    return inside


@contextmanager
def served(advisories: Advisories) -> Iterator[str]:
    """The address at which they are asked, on loopback."""

    class Asked(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(min(int(self.headers["Content-Length"]), MOST_BYTES)))
            found = advisories.about(asked["package"]["name"], asked["version"])
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Asked) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()
