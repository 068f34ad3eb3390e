"""`Allowance`: what one call may still pay. Its copies share it."""

from __future__ import annotations

from ...configs.filecoin import format_usdfc
from ...storage.errors import UnavailableError


class Allowance:
    """A ceiling, as far as nothing was signed against it. Amounts in the token's smallest unit.

    A quote says what is to be expected; the chain may have changed since, and a slow provider takes more messages.
    """

    def __init__(self, ceiling: int | None) -> None:
        self.left = ceiling or 0

    def check(self, name: str, cost: int) -> None:
        """Raise `UnavailableError` for what is beyond it."""
        if cost > self.left:
            raise UnavailableError(
                f"{name}: {format_usdfc(cost)} are to be paid next, and {format_usdfc(self.left)} of the ceiling are"
                " left: it takes more messages than were quoted, or the chain has changed since",
                hint="said again, what is left is quoted anew; or raise the ceiling, or take a faster provider",
            )

    def take(self, name: str, cost: int) -> None:
        """Something is about to be signed. Raises as `check` does."""
        self.check(name, cost)
        self.left -= cost
