"""What is shown as one line: names come from anywhere, and one with a line break could say what was never done."""

import re

from quietmic.enhance.redact import redact

_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # breaks, orders to terminals


def one_line(text: str) -> str:
    """The text without passwords, what would break the line or steer the terminal written as in "\\n"."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), redact(text))
