"""No SDK of ours but the generated stubs: `plain_client.py HOST:PORT`."""

import sys

import grpc

from snakepit.v1 import router_pb2, router_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    request = router_pb2.ExecuteRequest(pool="default/digits", tool="classify")
    request.json.update({"image": [0.0] * 32 + [16.0] * 32})
    reply = router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=10)
    print("digit", int(reply.json.number_value), "said", reply.worker)
