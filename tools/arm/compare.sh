#!/bin/bash
# compare.sh DIR RECORDING [MODEL]: `denoise` on an emulated Cortex-A72 and on this machine; the same to 1e-4.
#
# DIR comes from build.sh. Emulation is slow: a few seconds of sound take minutes.
set -euo pipefail
case "${1:---help}" in -h | --help) sed -n '2,/^set /{/^#/s/^# \?//p}' "$0"; exit ;; esac

dir=$(realpath "$1")
recording=$(realpath "$2")
model=${3:-default}
project=$(realpath "$(dirname "$0")/../..")
python=${PYTHON:-python3}
qemu=${QEMU:-qemu-aarch64-static}
out=$dir/out
rm -rf "$out" && mkdir -p "$out"
cd "$project"

# FLOAT, so that nothing is rounded; three seconds are enough to see a difference.
"$python" - "$recording" "$out/noisy.wav" <<'PYTHON'
import sys

from quietmic.enhance.files.audio import read, write

samples, sample_rate = read(sys.argv[1])
write(sys.argv[2], samples[:, : 3 * sample_rate], sample_rate, subtype="FLOAT")
PYTHON
"$python" app.py denoise "$out/noisy.wav" -o "$out/here.wav" --model "$model"
start=$(date +%s)
"$qemu" -cpu cortex-a72 -L "$dir/rootfs" -E PYTHONPATH="$dir/site" -E PYTHONDONTWRITEBYTECODE=1 \
    "$dir/rootfs/usr/bin/python3.11" app.py denoise "$out/noisy.wav" -o "$out/board.wav" --model "$model"
echo "emulated in $(($(date +%s) - start)) s"
"$qemu" -cpu cortex-a72 -L "$dir/rootfs" -E PYTHONPATH="$dir/site" -E PYTHONDONTWRITEBYTECODE=1 \
    "$dir/rootfs/usr/bin/python3.11" -c '
import sys
sys.path.insert(0, ".")
import platform
from quietmic.devices.board import detect_board
board, reason = detect_board()
print(f"{platform.machine()}: board {board.name}, {reason}")
assert board.name == "rpi4"
'
"$python" - "$out/here.wav" "$out/board.wav" <<'PYTHON'
import sys

import numpy as np

from quietmic.enhance.files.audio import read

here, board = (read(path)[0] for path in sys.argv[1:])
difference = float(np.abs(here - board).max())
print(f"{here.shape[1]} samples, largest difference {difference:.2e}, peak {np.abs(here).max():.3f}")
sys.exit(not (here.shape == board.shape and difference < 1e-4))
PYTHON
