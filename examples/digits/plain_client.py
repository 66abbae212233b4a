"""No SDK of ours but the generated stubs: `plain_client.py HOST:PORT`. Where tokens are asked for, SNAKEPIT_TOKEN_FILE has one."""

import os
import sys
from pathlib import Path

import grpc

from snakepit.v1 import router_pb2, router_pb2_grpc

token = os.environ.get("SNAKEPIT_TOKEN_FILE")
metadata = [("authorization", f"Bearer {Path(token).read_text().strip()}")] if token else []

with grpc.insecure_channel(sys.argv[1]) as channel:
    request = router_pb2.ExecuteRequest(pool="default/digits", tool="classify")
    request.json.update({"image": [0.0] * 32 + [16.0] * 32})
    reply = router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=10, metadata=metadata)
    print("digit", int(reply.json.number_value), "said", reply.worker)
