"""The root of every error of holdfast, and the user's own mistakes."""

from __future__ import annotations


class HoldfastError(Exception):
    """Root of all errors that holdfast raises on purpose.

    `kind` names the class of blame in machine-readable output, `hint` says what to do next, and `exit_code`
    is what the command line ends with (design: "The contract").
    """

    kind = "error"
    exit_code = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint, self.__dict__))


def _rebuild(cls: type[HoldfastError], message: str, hint: str, state: dict[str, object]) -> HoldfastError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.message, error.hint = message, hint
    error.__dict__.update(state)
    return error


class ConfigError(HoldfastError):
    """The user's input is wrong: a path, an option, a roster line. Never raised for what a peer sent."""

    kind = "config"
    exit_code = 2
