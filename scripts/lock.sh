#!/bin/sh
# Resolve requirements/*.lock from pyproject.toml, for every platform and Python we support, with hashes.
set -eu
cd "$(dirname "$0")/.."
lock() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" "$@" ${UPGRADE:+--upgrade}; }
lock pyproject.toml --extra local --extra encoder --extra learn --extra gpu --extra valkey --extra postgres --extra telemetry --group build -o requirements/local.lock
lock pyproject.toml --extra local --extra encoder --extra learn --extra gpu --extra valkey --extra postgres --extra telemetry --group build --group dev -o requirements/dev.lock -c requirements/local.lock
# torch and NVIDIA's libraries for it: requirements/torch.lock names the build for CPUs instead, by hand.
lock pyproject.toml --extra transformers -o requirements/transformers.lock -c requirements/local.lock
sed -i -E '/^(torch|triton|cuda|nvidia)[a-z0-9-]*==/,/[^\\]$/d' requirements/transformers.lock
