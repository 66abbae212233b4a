"""The contract of a release, out of proto/released: its messages, as its programs have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FOLDER = Path(__file__).resolve().parents[2] / "proto/released"
RELEASES = [path.stem for path in sorted(FOLDER.glob("*.binpb"))]


class Contract:
    """`contract("Hello")` is the release's class for `snakepit.v1.Hello`."""

    def __init__(self, release: str) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString((FOLDER / f"{release}.binpb").read_bytes())
        for file in files.file:
            self._pool.Add(file)

    def __call__(self, name: str) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"snakepit.v1.{name}"))
