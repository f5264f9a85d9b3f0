"""The one error of quietmic, whose message is meant for the person who reads it."""


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
