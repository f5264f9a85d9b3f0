"""Passwords that stand in addresses, taken out of what is shown or kept."""

import re

_USER = re.compile(r"(://)[^\s/:@]*:(?!\d+/)[^\s@]+@")
_QUERY = re.compile(
    r"([?&;][\w-]*(?:key|token|secret|passw(?:or)?d|signature|credential|sig)[\w-]*=)[^&\s\"']+", re.IGNORECASE
)


def redact(text: str) -> str:
    """The same text with *** for user and password of an address, and for keys and signatures behind its name."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))
