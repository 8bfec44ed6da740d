# Two stages: build the environment from the lock, then copy it into an image without build tools.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /opt/stac-manager
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-default-groups --extra aws --extra postgres --extra celery --no-install-project
COPY stac_manager stac_manager
RUN uv sync --locked --no-default-groups --extra aws --extra postgres --extra celery --no-editable

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 stac && mkdir -p /opt/dagster /data && chown stac:stac /opt/dagster /data
WORKDIR /opt/stac-manager
COPY --from=build /opt/stac-manager/.venv .venv
COPY stac_assets stac_assets
COPY resources resources
COPY partitions partitions
COPY workflows workflows
COPY workspace.yaml workspace.yaml
COPY --chown=stac:stac dagster.yaml /opt/dagster/dagster.yaml
ENV PATH=/opt/stac-manager/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DAGSTER_HOME=/opt/dagster \
    DAGSTER_DISABLE_TELEMETRY=yes \
    STAC_WORKFLOWS=/opt/stac-manager/workflows
USER stac
VOLUME ["/data", "/opt/dagster"]
EXPOSE 4000
# As a code location: docker run IMAGE
# As a command line:  docker run IMAGE stac-manager --help
# As the web server:  docker run IMAGE dagster-webserver -h 0.0.0.0 -p 3000 -w workspace.yaml
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["dagster", "api", "grpc-health-check", "-p", "4000"]
CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "4000", "-m", "stac_assets.definitions"]
