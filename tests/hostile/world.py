"""The real programs: a control plane that asks everybody for a token, one capsule of three workers, and a good client beside them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hostile import undisturbed
from snakepit.spec import encode_spec
from support.attack import Plane, asked, plane, python_path, rss
from support.authority import Authority
from support.capsules import spec
from support.dev_server import wait_until
from support.issuer import AUDIENCE, NAME, OPERATOR, pod_claims, public_key, signed
from support.ports import free_port
from support.redis_server import RedisServer, redis_server

POOL = "default/sample"
WORKERS = 3
LINKS = 2
"""The agent's and the good client's: each has one lane for as long as it lasts."""

ESTABLISHED, CLOSE_WAIT = "01", "08"
"""As the kernel writes them."""

KEPT_SECONDS = 20
"""Results under keys; afterwards they are gone."""

SUBJECTS = ("ada", "eve", "mallory")


@dataclass
class Figures:
    """Of control plane and agent, in that order where there are two; the first three rows are MiB."""

    rss: tuple[int, int]
    trimmed: int
    in_use: float
    blocks: int
    frozen: int
    switch: float
    descriptors: tuple[int, int]
    tasks: int
    keys: int
    """In the store."""
    series: frozenset[str] = field(repr=False)


class World:
    def __init__(
        self,
        control: Plane,
        folder: Path,
        ports: dict[str, int],
        agent: subprocess.Popen[bytes],
        good: subprocess.Popen[str],
        certificates: dict[str, str],
        store: RedisServer,
    ) -> None:
        self.control = control
        self.folder = folder
        self.ports = ports
        self.agent = agent
        self.good = good
        self.certificates = certificates
        self.store = store

    def target(self) -> dict[str, Any]:
        """What an attacker is told: where everything is, and tokens of its own."""
        tokens = {name: signed(claims(name)) for name in SUBJECTS[1:]}
        return {**self.ports, **self.certificates, "run": str(self.folder / "run"), "tokens": tokens}

    def diary(self, word: str = "") -> dict[str, Any]:
        """What the good client has seen since this was asked last; after "rest" it calls no more until it is asked again."""
        return asked(self.good, word)

    @property
    def resident(self) -> tuple[int, int]:
        return rss(self.control.pid), rss(self.agent.pid)

    def lanes(self) -> int:
        """So many there are at the control plane, also where nobody is at the other end any more."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(f":{self.ports['lane']:04X}") and row[3] in (ESTABLISHED, CLOSE_WAIT) for row in rows)

    def figures(self) -> Figures:
        for _ in range(20):  # What only the loop knows is left out of a scrape for which it has no time.
            text = metrics(self.ports["metrics"])
            if (tasks := re.search(r"^snakepit_tasks (\S+)", text, re.MULTILINE)) is not None:
                break
        assert tasks is not None, text
        # A histogram counts once, by its sum: its buckets are as many as they are.
        lines = [line for line in text.splitlines() if not re.match(r"#|\w+_(bucket|count){", line)]
        series = frozenset(line.rpartition(" ")[0] for line in lines)
        resident, held = self.resident, self.control.figures()
        opened = descriptors(self.control.pid), descriptors(self.agent.pid)
        interpreter = held["in_use"], held["blocks"], held["frozen"], held["switch"]
        return Figures(resident, held["rss"], *interpreter, opened, int(float(tasks[1])), self.keys, series)

    @property
    def keys(self) -> int:
        """So many there are in the store: sessions, their state, bindings, results under keys, and who leads."""
        return int(self.store.command("DBSIZE").strip(b":\r\n"))


def metrics(port: int) -> str:
    """A scrape."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def claims(name: str) -> dict[str, Any]:
    own = {"aud": [AUDIENCE], "sub": f"system:serviceaccount:shop:{name}", "exp": int(time.time()) + 86400}
    return pod_claims(f"{name}-0", "shop/none", **own)


def descriptors(pid: int) -> int:
    """Each worker has memory for results that wait from the first such result on: it counts as if it were there."""
    names = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # It has been closed since.
            names.append(str(each.readlink()))
    held = sum("snakepit-held" in name for name in names)
    return len(names) + max(0, WORKERS - held)


def run(*words: str, **options: Any) -> subprocess.Popen[Any]:
    environment = {**os.environ, "PYTHONPATH": python_path(), **options.pop("env", {})}
    return subprocess.Popen([sys.executable, "-m", *words], env=environment, **options)


def certificates_of(servers: Authority, people: Authority, strangers: Authority) -> tuple[dict[str, str], dict[str, str]]:
    """The server's settings, and files by name: the CA, ada's own, and such as nobody should be let in with."""
    own = servers.files(client_ca=people.ca_file)
    made = {
        "ada": people.files("ada", subject="ada"),
        "expired": people.files("expired", subject="eve", ends=-timedelta(hours=1)),
        "of_another_ca": strangers.files("eve", subject="ada"),
        "of_the_cluster": people.files("system", subject="system:masters"),
        "of_nobody": people.files("nobody", subject=" "),
        "of_a_server": servers.files("other", subject="ada"),
    }
    settings = {"SNAKEPIT_TLS_CERT_FILE": str(own.certificate), "SNAKEPIT_TLS_KEY_FILE": str(own.key)}
    settings["SNAKEPIT_TLS_CLIENT_CA_FILE"] = str(people.ca_file)
    return settings, {"ca": str(servers.ca_file), **{name: str(files.certificate.parent) for name, files in made.items()}}


def of_the_control_plane(folder: Path, ports: dict[str, int], store: str) -> dict[str, str]:
    """Its settings: everybody brings a token."""
    return {
        "SNAKEPIT_LISTEN": f"127.0.0.1:{ports['grpc']}",
        "SNAKEPIT_METRICS_LISTEN": f"127.0.0.1:{ports['metrics']}",
        "SNAKEPIT_HEALTH_LISTEN": f"127.0.0.1:{ports['health']}",
        "SNAKEPIT_LANE_LISTEN": f"127.0.0.1:{ports['lane']}",
        "SNAKEPIT_LINGER_SECONDS": "10",
        "SNAKEPIT_MAX_REQUEST_SECONDS": "4",
        "SNAKEPIT_MAX_CALL_RECORDS": "1000",
        "SNAKEPIT_STORE": store,
        "SNAKEPIT_AUTH": "required",
        "SNAKEPIT_AUTH_KEYS": str(folder / "jwks"),
        "SNAKEPIT_AUTH_AUDIENCE": AUDIENCE,
        "SNAKEPIT_AUTH_ISSUER": NAME,
        "SNAKEPIT_AUTH_OPERATOR": OPERATOR,
        "SNAKEPIT_TLS_CLIENT_LISTEN": f"127.0.0.1:{ports['clients']}",
    }


def of_the_agent(folder: Path, ports: dict[str, int], server: str) -> dict[str, str]:
    """And of its keeper: one capsule of three workers."""
    call = {"payloads": ["json", "msgpack"], "idempotencyTtlSeconds": KEPT_SECONDS}
    return {
        "SNAKEPIT_POOL": POOL,
        "SNAKEPIT_CAPSULE": "sample-0",
        "SNAKEPIT_POD_UID": "pod-uid",
        "SNAKEPIT_SERVER": server,
        "SNAKEPIT_SPEC": encode_spec(spec("support.sample:Sample", worker={"processes": WORKERS}, call=call)),
        "SNAKEPIT_RUN_DIR": str(folder / "run"),
        "SNAKEPIT_TOKEN_FILE": str(folder / "agent"),
        "SNAKEPIT_HEALTH_PORT": str(ports["agent"]),
        "SNAKEPIT_METRICS_PORT": str(ports["agent_metrics"]),
    }


@contextlib.contextmanager
def world(servers: Authority | None = None) -> Iterator[World]:
    """With `servers`, all ports speak TLS, and clients may show certificates."""
    names = ("grpc", "metrics", "health", "lane", "agent", "agent_metrics", "clients")
    ports = {name: free_port() for name in names}
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        tls, certificates = certificates_of(servers, *(Authority(folder / of) for of in ("people", "others"))) if servers else ({}, {})
        trust = {"SNAKEPIT_CA_FILE": certificates["ca"]} if servers else {}
        store = stack.enter_context(redis_server())
        assert store.process is not None
        undisturbed.first(store.process.pid)
        (folder / "run").mkdir()
        (folder / "jwks").write_text(json.dumps({"keys": [public_key("one")]}))
        (folder / "ada").write_text(signed(claims("ada")))
        (folder / "agent").write_text(signed(pod_claims("sample-0", POOL)))
        settings = of_the_control_plane(folder, ports, store.url)
        control = stack.enter_context(plane(MALLOC_ARENA_MAX="2", **settings, **tls))
        own = {**trust, **of_the_agent(folder, ports, control.address)}
        undisturbed.first(control.pid)
        log = stack.enter_context((folder / "capsule.log").open("wb"))
        agent = run("snakepit_agent", env=own, stderr=log)
        undisturbed.first(agent.pid)
        stack.callback(end, agent)
        keeper = run("snakepit_worker.keeper", env=own, stderr=log, stdout=log)
        undisturbed.first(keeper.pid)
        stack.callback(end, keeper)
        ready = 'snakepit_workers{pool="default/sample",state="ready"} 3'
        wait_until(lambda: ready in metrics(ports["metrics"]), "three workers are ready")
        words = (control.address, str(folder / "ada"), json.dumps({**certificates, "port": ports["clients"]} if servers else {}))
        good = run("hostile.good_client", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=trust)
        undisturbed.first(good.pid)
        stack.callback(end, good)
        found = World(control, folder, ports, agent, good, certificates, store)
        wait_until(lambda: "link" in found.diary()["seconds"] or time.sleep(0.3), "the good client calls")
        yield found


def end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()
