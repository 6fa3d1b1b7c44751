# A server of artifacts: what stage=serve needs, without torch.
#
#   docker build -t chirplet .
#   docker run --read-only -p 127.0.0.1:8000:8000 -v "$PWD/DIR:/models/NAME:ro" chirplet
#
# What follows the image's name replaces artifacts=/models/*: docker run ... chirplet artifact=/models/NAME stage.queue=4
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
WORKDIR /build
COPY requirements-serve.lock .
RUN python -m venv --without-pip /opt/chirplet && \
    pip --python /opt/chirplet/bin/python install --no-cache-dir --no-compile --require-hashes -r requirements-serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY conf conf
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir dist . && \
    pip --python /opt/chirplet/bin/python install --no-cache-dir --no-compile --no-deps dist/*.whl
# Byte code of what a server imports, since Python cannot store it where the root is read-only. That of everything would be
# four times as large.
RUN cd /opt/chirplet/lib/python3*/site-packages && \
    /opt/chirplet/bin/python -m compileall -q chirplet filelock hydra_plugins uvicorn && \
    /opt/chirplet/bin/chirplet stage=serve --cfg job > /dev/null && \
    /opt/chirplet/bin/python -c "import chirplet.server.app, chirplet.runtime.onnxruntime, ftfy, loky, onnxruntime"

FROM ${PYTHON}
COPY --from=build /opt/chirplet /opt/chirplet
ENV PATH=/opt/chirplet/bin:$PATH HOME=/dev/shm
USER 65532:65532
WORKDIR /dev/shm
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as http; http.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
# Hydra writes the configuration of the run to /dev/shm, which can be written where the root is read-only.
ENTRYPOINT ["chirplet", "stage=serve", "stage.host=0.0.0.0", "hydra.run.dir=/dev/shm/run"]
CMD ["artifacts=/models/*"]
