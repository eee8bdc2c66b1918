#!/usr/bin/env bash
# What has to be measured on a GPU, in about twelve minutes, the most important part first.
#
#   scripts/gpu_check.sh [--out FOLDER] [--dry-run] [--only NAME ...]
#
# Each part has a time limit and writes its own file; a second call goes on with the parts that are missing. --dry-run
# runs the same parts on the CPU with small networks. PYTHON names the interpreter; foreact is taken from this checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" scripts/gpu_check.py "$@"
