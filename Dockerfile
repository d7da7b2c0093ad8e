# utcp-bridge as a container: streamable HTTP on port 8000, path /mcp.
#
#   docker build -t utcp-bridge .
#   docker run --rm -p 127.0.0.1:8000:8000 -e UTCP_BRIDGE_BEARER_TOKEN="$(openssl rand -hex 32)" \
#       -v "$PWD/configs:/configs:ro" utcp-bridge serve /configs/providers.json
#
# Without a configuration of yours it serves the sample tools. Each package has one of the hashes of scripts/constraints-*.txt.
# scripts/image builds from a base image by its digest, which it looks up and records; a plain build takes the tag.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY docs ./docs
COPY scripts/constraints-image.txt scripts/constraints-build.txt ./scripts/
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --require-hashes --no-deps -r scripts/constraints-build.txt \
    && /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && python -m venv /opt/utcp-bridge \
    && /opt/utcp-bridge/bin/pip install --no-cache-dir --require-hashes --no-deps -r scripts/constraints-image.txt \
    && /opt/utcp-bridge/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl \
    && /opt/utcp-bridge/bin/pip check \
    && /opt/utcp-bridge/bin/pip uninstall --yes pip

FROM ${BASE}
RUN useradd --system --uid 10001 utcp
COPY --from=build /opt/utcp-bridge /opt/utcp-bridge
ENV PATH=/opt/utcp-bridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UTCP_BRIDGE_TRANSPORT=http \
    UTCP_BRIDGE_HOST=0.0.0.0 \
    UTCP_BRIDGE_PORT=8000
USER utcp
WORKDIR /srv
EXPOSE 8000
# The address is loopback inside the container, so the Host check lets it through.
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['UTCP_BRIDGE_PORT']}/healthz\", timeout=2)"]
# The bridge is process 1. Its guardian adopts and reaps the orphans of commands, so an init such as tini is not needed.
ENTRYPOINT ["utcp-bridge"]
CMD ["serve", "--quickstart"]
