"""schemathesis over a pool's OpenAPI document: no answer that isn't in the document, and no failure that isn't in the table of errors."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "missing_required_header",
    "ignored_auth",
    "use_after_free",
    "in_the_table",
)


async def holds(pool: str, folder: Path) -> None:
    """`pool` is its URL, `folder` where the program may write. It knows nothing of tokens."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "schemathesis",
        *("run", f"{pool}/openapi.json", "--checks", ",".join(CHECKS)),
        *("--phases", "coverage,fuzzing", "--max-examples", "4", "--continue-on-failure", "--warnings", "off"),
        *("--header", "Snakepit-Timeout: 0.3"),
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "support.in_the_table", "PYTHONPATH": str(TESTS)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode(errors="replace")
