# utcp-bridge as a container: streamable HTTP on port 8000, path /mcp. docs/deploy.md says more.
#
#   docker build -t utcp-bridge .                           slim: Python alone
#   docker build -t utcp-bridge:full --target full .        also node, npx and uvx, for MCP servers that they start
#   docker run --rm -p 127.0.0.1:8000:8000 -e UTCP_BRIDGE_BEARER_TOKEN=generate \
#       -v "$PWD/configs:/configs:ro" --read-only --tmpfs /tmp --tmpfs /var/lib/utcp-bridge utcp-bridge serve /configs/providers.json
#
# It prints the token for clients. Without a configuration of yours it serves the sample tools. Each package has one of the hashes of scripts/constraints-*.txt.
# scripts/image builds from a base image by its digest, which it looks up and records; a plain build takes the tag.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY docs ./docs
COPY conformance ./conformance
COPY scripts/constraints-image.txt scripts/constraints-build.txt ./scripts/
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --require-hashes --no-deps -r scripts/constraints-build.txt \
    && /opt/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && python -m venv /opt/utcp-bridge \
    && /opt/utcp-bridge/bin/pip install --no-cache-dir --require-hashes --no-deps -r scripts/constraints-image.txt \
    && /opt/utcp-bridge/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl \
    && /opt/utcp-bridge/bin/pip check \
    && /opt/utcp-bridge/bin/pip uninstall --yes pip

FROM ${BASE} AS programs
COPY scripts/constraints-full.txt ./
RUN python -m venv /opt/programs \
    && /opt/programs/bin/pip install --no-cache-dir --require-hashes --no-deps -r constraints-full.txt \
    && /opt/programs/bin/pip uninstall --yes pip

FROM ${BASE} AS runtime
# The folder belongs to the group 0 too, so that a cluster can give the container a user id of its own.
RUN useradd --system --uid 10001 --home-dir /var/lib/utcp-bridge utcp \
    && mkdir -p /var/lib/utcp-bridge && chown 10001:0 /var/lib/utcp-bridge && chmod 770 /var/lib/utcp-bridge
COPY --from=build /opt/utcp-bridge /opt/utcp-bridge
ENV PATH=/opt/utcp-bridge/bin:$PATH \
    HOME=/var/lib/utcp-bridge \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    UTCP_BRIDGE_TRANSPORT=http \
    UTCP_BRIDGE_HOST=0.0.0.0 \
    UTCP_BRIDGE_PORT=8000
# A number, because Kubernetes cannot see that a name is not root.
USER 10001
WORKDIR /srv
EXPOSE 8000
# It asks the port on which the bridge listens, whatever set it. A bridge over stdio is healthy while it runs.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["utcp-bridge", "health"]
# The bridge is process 1. Its guardian adopts and reaps the orphans of commands, so an init such as tini is not needed.
ENTRYPOINT ["utcp-bridge"]
CMD ["serve", "--quickstart"]

FROM runtime AS full
COPY --from=programs /opt/programs /opt/programs
ENV PATH=/opt/utcp-bridge/bin:/opt/programs/bin:$PATH

# The last stage is what a build without --target makes.
FROM runtime AS slim
