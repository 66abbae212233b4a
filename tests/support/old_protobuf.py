"""An adapter whose image pins a protobuf of long ago, and has no grpcio."""

from __future__ import annotations

import google.protobuf

from snakepit import Adapter, tool


class Pinned(Adapter):
    @tool
    def version(self) -> str:
        return google.protobuf.__version__
