#!/bin/bash
# count.sh DIR [CHECKOUT] [MODEL...]: instructions of one live hop on an emulated Cortex-A72, in millions.
#
# DIR comes from build.sh; CHECKOUT is this one, or another to compare with. Needs gcc and Debian's qemu-user, whose
# version must be 7.2. How long instructions take on a board is not told by their number, but fewer take less.
set -euo pipefail
case "${1:---help}" in -h | --help) sed -n '2,/^set /{/^#/s/^# \?//p}' "$0"; exit ;; esac

dir=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
checkout=$(realpath "${2:-$here/../..}")
models=("${@:3}")
[ ${#models[@]} -gt 0 ] || models=(tcn-small tcn-tiny)
hops=10
gcc -O2 -shared -fPIC -o "$dir/count.so" "$here/count.c"
for model in "${models[@]}"; do
    "${QEMU:-qemu-aarch64}" -plugin "$dir/count.so" -d plugin -cpu cortex-a72 -L "$dir/rootfs" \
        -E PYTHONPATH="$checkout:$dir/site" -E PYTHONDONTWRITEBYTECODE=1 -E OMP_NUM_THREADS=1 \
        "$dir/rootfs/usr/bin/python3.11" -P - "$model" "$hops" 2>&1 >/dev/null <<'PYTHON' |
import contextlib
import os
import sys

import numpy as np

from quietmic.enhance.stream import open_stream

stream = open_stream(sys.argv[1])
hops = 0.1 * np.random.default_rng(0).standard_normal((int(sys.argv[2]), 256)).astype(np.float32)
for mark in range(2):  # the first round warms up
    for hop in hops:
        stream.process(hop)
    with contextlib.suppress(OSError):
        os.getpgid(424242 + mark)
PYTHON
        awk -v model="$model" -v hops="$hops" '/^mark 1:/ { printf "%s: %.2f million instructions a hop\n", model, $3 / hops / 1e6 }'
done
