#!/bin/sh
# Makes .venv from requirements.lock (every package pinned by hash) and installs Posthouse into it.
set -eu
cd "$(dirname "$0")/.."
stamp=.venv/.installed
if [ -f "$stamp" ] && [ "$stamp" -nt requirements.lock ] && [ "$stamp" -nt pyproject.toml ]; then
  exit 0
fi
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "Posthouse needs Python 3.11 or newer; '$python' is not. Name another with PYTHON=/path/to/python3." >&2
  exit 1
fi
# Debian splits ensurepip off: without its package a venv cannot be made whole.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $package (Debian keeps ensurepip apart from python3)"
    apt-get update -q >/dev/null && apt-get install -qy "$package" >/dev/null
  else
    echo "This Python cannot make a virtual environment. Run: sudo apt-get install $package" >&2
    exit 1
  fi
fi
echo "making .venv (once; about a minute)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch "$stamp"
