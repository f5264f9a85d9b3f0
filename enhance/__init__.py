"""Speech enhancement at run time: needs numpy, onnxruntime and soundfile, never a training framework.

In a checkout `from enhance import open_stream` gives what `from quietmic import open_stream` gives.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    import quietmic

    if name not in quietmic.__all__:
        raise AttributeError(f"module 'enhance' has no attribute '{name}'")
    return getattr(quietmic, name)
