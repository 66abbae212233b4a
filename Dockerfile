# syntax=docker/dockerfile:1
#
# The images of the agent, the control plane, the operator, the gateway and the command line: `docker build --target agent .`
#
# Each is a Python with one virtual environment in /opt/snakepit. Its dependencies are a layer of their own, below the one
# with our code, so that a change of code moves kilobytes. Nothing is written at run time: bytecode is compiled here.
# Build tools stay in the stages that need them.
# A TERM that comes while a program starts waits for it: PID 1 never gets a signal that came before its handler.

ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/tools && python3 -m venv --without-pip /opt/snakepit
WORKDIR /source
COPY requirements/build.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/tools/bin/pip install --require-hashes -r requirements/build.txt
COPY hack/images/install-dependencies hack/images/build-wheels hack/images/install-own /usr/local/bin/

FROM tools AS agent-dependencies
COPY requirements/agent.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip install-dependencies requirements/agent.txt
FROM agent-dependencies AS agent-own
COPY sdk sdk
COPY agent agent
RUN install-own sdk agent

FROM tools AS control-plane-dependencies
COPY requirements/control-plane.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip install-dependencies requirements/control-plane.txt
FROM control-plane-dependencies AS control-plane-own
COPY sdk sdk
COPY control-plane control-plane
RUN install-own sdk control-plane

FROM tools AS operator-dependencies
COPY requirements/operator.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip install-dependencies requirements/operator.txt
FROM operator-dependencies AS operator-own
COPY sdk sdk
COPY operator operator
RUN install-own sdk operator

FROM tools AS gateway-dependencies
COPY requirements/gateway.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip install-dependencies requirements/gateway.txt
FROM gateway-dependencies AS gateway-own
COPY sdk sdk
COPY gateway gateway
RUN install-own sdk gateway

FROM tools AS cli-dependencies
COPY requirements/cli.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip install-dependencies requirements/cli.txt
FROM cli-dependencies AS cli-own
COPY sdk sdk
RUN install-own sdk

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/snakepit/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /

FROM runtime AS agent
COPY --from=agent-dependencies /opt/snakepit /opt/snakepit
COPY --from=agent-own /own /
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=INT", "snakepit-agent"]

FROM runtime AS control-plane
# glibc would make an arena for each of gRPC's threads, and keep what each had at its fullest: twice the memory after a flood, and no call is faster.
ENV MALLOC_ARENA_MAX=2
COPY --from=control-plane-dependencies /opt/snakepit /opt/snakepit
COPY --from=control-plane-own /own /
EXPOSE 7800 7801 7802 7803
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=INT", "snakepit-control-plane"]

FROM runtime AS operator
COPY --from=operator-dependencies /opt/snakepit /opt/snakepit
COPY --from=operator-own /own /
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=INT", "snakepit-operator"]

FROM runtime AS gateway
COPY --from=gateway-dependencies /opt/snakepit /opt/snakepit
COPY --from=gateway-own /own /
EXPOSE 7880
ENV SNAKEPIT_GATEWAY_LISTEN=0.0.0.0:7880
ENTRYPOINT ["env", "--block-signal=TERM", "--block-signal=INT", "snakepit-gateway"]

FROM runtime AS cli
COPY --from=cli-dependencies /opt/snakepit /opt/snakepit
COPY --from=cli-own /own /
ENTRYPOINT ["snakepit"]
