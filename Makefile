# `make help` lists the targets. Everything lives in .venv; the only needs are Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
DISTRIBUTIONS := sdk worker-image agent control-plane operator local
STAMP := .venv/.installed
TEST_PROCESSES ?= 3
BENCH_STAMP := .venv-bench/.installed
RELEASE_STAMP := .venv-release/.installed

.DEFAULT_GOAL := help
.PHONY: help setup wheels demo hostile test test-cluster test-upgrade test-keda demo-kubernetes bench scale soak simulate fuzz images protos protos-release crds lint docs clean cluster-up cluster-down requirements
