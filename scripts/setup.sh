#!/usr/bin/env bash
# Makes the virtual environment and installs foreact into it, with the simulator and the developers' tools.
set -euo pipefail

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
GRAPHICS="libegl1 libegl-mesa0 libgl1-mesa-dri libosmesa6"

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "foreact needs Python 3.11 or newer; got: $("$PYTHON" --version 2>&1). Name another: make PYTHON=python3.11 ..." >&2
    exit 1
fi

# Headless rendering needs Mesa's EGL. Install it where we may; say how where we may not.
if command -v dpkg >/dev/null && ! dpkg -s $GRAPHICS >/dev/null 2>&1; then
    install="apt-get install -y --no-install-recommends $GRAPHICS"
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq && $install -qq >/dev/null
    elif sudo -n true 2>/dev/null; then
        sudo apt-get update -qq && sudo $install -qq >/dev/null
    else
        echo "The simulator renders without a screen through Mesa. Please run once:  sudo $install" >&2
    fi
fi

"$PYTHON" -m venv "$VENV"
"$VENV/bin/python" -m pip install --quiet --upgrade pip
# torch first and alone: the pin decides which build of it everything else is content with.
"$VENV/bin/python" -m pip install --quiet "$(grep '^torch==' constraints.txt)"
"$VENV/bin/python" -m pip install --quiet -c constraints.txt -e ".[policy,train,serve,sim,umt5,memory,dev]"
# openpi's client, which the server's tests talk to, asks for a numpy below 2 and works with ours: without its pins.
"$VENV/bin/python" -m pip install --quiet --no-deps "openpi-client>=0.1.2"
echo "foreact is installed in $VENV."
