"""Errors whose message is meant for the person at the command line."""


class UserError(Exception):
    """Something the user can mend: printed without a traceback.

    Attributes:
        exit_code: 2 for wrong use, 1 for work that failed.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
