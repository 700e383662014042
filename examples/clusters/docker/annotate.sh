#!/bin/sh
# Starts the annotation app in a container: makes the first account, and serves port 7860 to the proxy in front of it.
# KEEL_ADMIN and KEEL_PASSWORD name the first account; once it is there, its password is changed in the app's database only.
set -eu
if [ -n "${KEEL_ADMIN:-}" ] && [ -n "${KEEL_PASSWORD:-}" ]; then
    keel annotate user add "$KEEL_ADMIN" --role admin || echo "$KEEL_ADMIN keeps the account and password of before"
fi
unset KEEL_PASSWORD
exec keel annotate --host 0.0.0.0 --port 7860 --secure-cookie --runs /data/runs "$@"
