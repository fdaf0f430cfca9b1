# nogilserve on free-threaded Python 3.14, which no image ships. The interpreter is built from
# the pinned source by the script that ./dev uses (see tools/python-source.txt).
# With everything nogilserve can use.
#
#   docker build -f Dockerfile -t nogilserve:py314t .
#   docker run --rm -p 8000:8000 -v "$PWD:/app" nogilserve:py314t main:app --bind 0.0.0.0:8000
#
# An application with packages of its own is another image:
#
#   FROM nogilserve:py314t
#   COPY --chown=nogilserve . /app
#   RUN /opt/nogilserve/bin/pip install --no-cache-dir -r requirements.txt
#   CMD ["main:app", "--bind", "0.0.0.0:8000"]

FROM debian:bookworm-slim AS build
ENV HOME=/tmp
WORKDIR /src
COPY tools/ tools/
RUN tools/build-python.sh --version 3.14 --prefix /opt/python
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY nogilserve/ nogilserve/
RUN tools/install.sh /opt/python/bin/python3 /opt/nogilserve acme,metrics,otel,redis,reload,speed \
    && tools/slim-python.sh /opt/python

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates libbz2-1.0 libffi8 liblzma5 libsqlite3-0 libssl3 libzstd1 media-types zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /app --shell /usr/sbin/nologin nogilserve \
    && chown nogilserve /opt
COPY --from=build /opt/python /opt/python
COPY --from=build --chown=10001 /opt/nogilserve /opt/nogilserve
ENV PATH=/opt/nogilserve/bin:$PATH PYTHONUNBUFFERED=1
# A number, so that an orchestrator can tell that it is not root.
USER 10001
WORKDIR /app
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=30s CMD ["nogilserve", "status"]
ENTRYPOINT ["nogilserve"]
CMD ["--help"]
