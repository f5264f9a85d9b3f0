"""Where the command `quietmic` begins, with nothing of it loaded yet."""

import signal


def run() -> None:
    """Entry point of the console script; an interrupt that comes while the command line is loaded ends it in silence.

    Python would answer it with the lines of whatever was being imported. There is nothing to tidy up yet.
    """
    heard = signal.getsignal(signal.SIGINT)
    is_heard = heard is signal.default_int_handler  # a shell has it ignored by what it starts in the background
    if is_heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from quietmic import cli

    if is_heard:
        signal.signal(signal.SIGINT, heard)
    cli.run()
