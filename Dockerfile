# utcp-bridge as a container: streamable HTTP on port 8000, path /mcp.
#
#   docker build -t utcp-bridge .
#   docker run --rm -p 127.0.0.1:8000:8000 -e UTCP_BRIDGE_BEARER_TOKEN="$(openssl rand -hex 32)" \
#       -v "$PWD/configs:/configs:ro" utcp-bridge serve /configs/providers.json
#
# Without a configuration of yours it serves the sample tools.

FROM python:3.13-slim AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY docs ./docs
COPY scripts/constraints.txt ./scripts/
RUN python -m venv /opt/utcp-bridge \
    && /opt/utcp-bridge/bin/pip install --no-cache-dir --constraint scripts/constraints.txt '.[grpc]' \
    && /opt/utcp-bridge/bin/pip uninstall --yes pip

FROM python:3.13-slim
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
ENTRYPOINT ["utcp-bridge"]
CMD ["serve", "--quickstart"]
