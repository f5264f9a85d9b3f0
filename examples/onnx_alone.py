"""A model without quietmic, where only ONNX Runtime is: python examples/onnx_alone.py MODEL.onnx NOISY CLEAN."""

import json
import sys

import numpy as np
import onnxruntime
import soundfile

session = onnxruntime.InferenceSession(sys.argv[1])
stft = json.loads(session.get_modelmeta().custom_metadata_map["quietmic_card"])["stft"]
n_fft, hop, length = stft["n_fft"], stft["hop_length"], stft["win_length"]  # 512, 256, 512
window = np.sin(np.pi * np.arange(length) / length)  # "sqrt_hann"; its square adds up to one
noisy, rate = soundfile.read(sys.argv[2], always_2d=True)
assert rate == stft["sample_rate"], f"resample to {stft['sample_rate']} Hz first"

padded = np.pad(noisy[:, 0], (length - hop, length))
frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop] * window
spectra = np.fft.rfft(frames, n_fft).T  # [F, T]
signal = np.stack([spectra.real, spectra.imag], axis=-1)[None].astype(np.float32)  # [1, F, T, 2]

inputs = {node.name: node for node in session.get_inputs()}
feeds = {name: np.zeros(node.shape, np.float32) for name, node in inputs.items() if name.startswith("state_")}
feeds |= {"noisy": signal[:, None]} | ({"beam": signal} if "beam" in inputs else {})  # [1, n_mics, F, T, 2]
enhanced = session.run(["enhanced"], feeds)[0][0]  # live: one frame a call, each state_*_out into the next state_*
frames = np.fft.irfft((enhanced[..., 0] + 1j * enhanced[..., 1]).T, n_fft)[:, :length] * window
clean = np.zeros(hop * len(frames) + length)
for i, frame in enumerate(frames):
    clean[i * hop : i * hop + length] += frame
soundfile.write(sys.argv[3], clean[length - hop :][: len(noisy)], rate)
