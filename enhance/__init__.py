"""Speech enhancement at run time: needs numpy, onnxruntime and soundfile, never a training framework."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enhance.stream import StreamEnhancer

__all__ = ["open_stream"]


def open_stream(
    name: str = "default", n_mics: int = 1, sample_rate: int = 16000, attenuation_limit_db: float | None = None
) -> "StreamEnhancer":
    """A fresh stream of a model: feed it blocks with `process`, end with `flush`.

    Args:
        name: of a model in the catalogue, "default", or the path of an .onnx file.
        n_mics: microphones of one scene, 1..8; channel 0 is the reference.
        sample_rate: Hz of input and output, 8000..192000.
        attenuation_limit_db: nothing is attenuated by more than this; None for no limit.

    Raises:
        UserError: unknown model, or a number of microphones or a rate that cannot be served.
    """
    from enhance.catalog import find_model
    from enhance.network import OnnxNetwork
    from enhance.stream import StreamEnhancer

    return StreamEnhancer(OnnxNetwork(find_model(name)), n_mics, sample_rate, attenuation_limit_db)
