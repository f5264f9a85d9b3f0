"""What the installed models are, cost and reach, from the cards inside them: python examples/card.py."""

from quietmic import list_models

for model in list_models():
    card = model.card  # travels inside the .onnx file
    print(f"{card.name}{' (default)' if model.is_default else ''}, {card.licence}")
    print(f"  {card.parameters:,} parameters, {card.macs_per_second / 1e6:,.0f} million multiplications per second")
    print(f"  1 to {card.max_mics} microphones at {card.stft.sample_rate} Hz")
    if card.parent:
        print(f"  compressed from {card.parent}")
    for name in ("noisy", "1_mics", "2_mics", "4_mics"):  # what came in, and what came out with so many microphones
        if figures := card.metrics.get(name):
            print(f"  {name}: SI-SDR {figures['si_sdr']:.1f} dB, PESQ {figures['pesq_wb']:.2f}")
