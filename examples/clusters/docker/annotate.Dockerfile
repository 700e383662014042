# The annotation app. From the root of a checkout:
#   docker build -f examples/clusters/docker/annotate.Dockerfile -t keel-annotate .
#   docker run -d -p 127.0.0.1:7860:7860 -v annotations:/data -e KEEL_ADMIN=ada -e KEEL_PASSWORD keel-annotate
# and put TLS in front of port 7860. In a Hugging Face Space it is the Dockerfile as it stands; see space.md.
# EXTRAS=annotate,oidc,postgres,train also trains on snapshots from the dashboard; torch makes the image gigabytes larger.
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
ARG EXTRAS=annotate,oidc,postgres
COPY constraints.txt /
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --constraint /constraints.txt "$(echo /wheels/*.whl)[$EXTRAS]"
COPY --chmod=755 examples/clusters/docker/annotate.sh /usr/local/bin/annotate.sh
# Spaces run every image as user 1000, and keep /data where persistent storage was ordered.
RUN useradd --create-home --uid 1000 keel \
    && mkdir /data \
    && chown keel /data
USER 1000
WORKDIR /data
ENV KEEL_DATABASE=/data/annotations.db
EXPOSE 7860
ENTRYPOINT ["annotate.sh"]
