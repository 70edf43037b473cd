# One image for every process: `docker run tidemill worker FILE`, `api FILE`, `retrain FILE`.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /source
COPY requirements/demo.txt requirements/demo.txt
RUN pip install --no-cache-dir "$(grep '^setuptools==' requirements/demo.txt)"
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11.13-slim-bookworm
# LightGBM is linked against the GNU OpenMP runtime, which the slim image leaves out.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/demo.txt /tmp/demo.txt
RUN pip install --no-cache-dir -r /tmp/demo.txt && rm /tmp/demo.txt
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --no-deps /tmp/wheels/*.whl && rm -r /tmp/wheels

RUN useradd --uid 10001 --create-home tidemill \
    && mkdir /data \
    && chown tidemill:tidemill /data
USER tidemill
WORKDIR /home/tidemill
ENV TIDEMILL_HOME=/data \
    NUMBA_CACHE_DIR=/tmp/numba \
    PYTHONUNBUFFERED=1
VOLUME /data
ENTRYPOINT ["tidemill"]
CMD ["--help"]
