"""The sound server of a Linux desktop, PulseAudio or PipeWire, spoken to through its own tools."""
