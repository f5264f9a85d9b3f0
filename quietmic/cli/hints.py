"""Which option stands for an argument: the library's errors speak of the one, people type the other."""

HINTS = {
    "address": "name it with --cluster",
    "ca": "give --tls-ca, --tls-cert and --tls-key",
    "mics": "name other numbers with --mics",
    "models": "name one with --model",
    "n_mics": "choose with --channels",
    "overwrite": "--overwrite replaces it",
    "rooms": "--rooms says how many there are",
    "raw": "samples without a header need --raw RATE,CHANNELS",
    "service": "let your session start `live` with --virtual-mic and --no-ui by other means",
    "speech": "give --speech and --noise",
    "weights": "give it by --peer-weights or QUIETMIC_PEERS",
}


def with_hint(message: str, argument: str | None) -> str:
    """A message of the library, with the option by which a person gives the argument that it is about."""
    hint = HINTS.get(argument or "")
    return f"{message}; {hint}" if hint else message
