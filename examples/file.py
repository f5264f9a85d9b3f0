"""A file without its noise: python examples/file.py NOISY CLEAN."""

import sys

from quietmic import QuietmicError, denoise_file

try:
    warnings = denoise_file(sys.argv[1], sys.argv[2], overwrite=True)
except QuietmicError as error:
    sys.exit(f"{error}")
for warning in warnings:
    print(warning)
