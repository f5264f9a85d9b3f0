"""The one error of quietmic, whose message is meant for the person who reads it, and what the system's errors say."""


class QuietmicError(Exception):
    """Something the user can mend, or a device that fails: printed without a traceback.

    Attributes:
        exit_code: 2 for wrong use (no such device), 1 for work that failed or a device that has gone.
        argument: the one to be given otherwise, by its name in Python; the command line adds which option that is.
    """

    def __init__(self, message: str, *, exit_code: int = 1, argument: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.argument = argument


def reason_of(error: Exception) -> str:
    """What the system or a library says of a failure, as the end of a sentence: "permission denied"."""
    reason = getattr(error, "strerror", None) or str(error)
    return f"{reason[:1].lower()}{reason[1:]}"


def told(error: Exception) -> str:
    """The message of any error as a person reads it: of the system's the file and the reason, without their number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    about = error.filename if isinstance(error.filename, str) else ""
    return f"{about}: {reason_of(error)}" if about else reason_of(error)
