"""What goes wrong with sound devices, in words for the person at the command line."""


class DeviceError(Exception):
    """A device that is missing, refuses or has gone; the message says what to do.

    Attributes:
        exit_code: 2 for wrong use (no such device), 1 for a device that fails.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
