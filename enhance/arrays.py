"""Types of the arrays that go through the run time."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]  # samples in -1..1, a network's values
Spectra = NDArray[np.complex64]
