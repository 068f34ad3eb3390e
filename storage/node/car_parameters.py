"""`CarParameters`: how a CAR is to be written, from the URL and from Accept. Pure.

Specification: ipfs/specs, src/http-gateways/trustless-gateway.md, "CAR version, order, dups"; the URL wins (IPIP-0523).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .accept import MediaRange
from .refused import RefusedError

CAR_TYPE = "application/vnd.ipld.car"
_KNOWN = {"version": ("1",), "order": ("dfs", "unk", ""), "dups": ("y", "n", "")}


@dataclass(frozen=True, slots=True)
class CarParameters:
    """Version 1 in depth-first order, always; `dups`: a block is sent each time that the walk meets it."""

    dups: bool = False

    @property
    def content_type(self) -> str:
        """What the answer says of itself."""
        return f"{CAR_TYPE};version=1;order=dfs;dups={'y' if self.dups else 'n'}"


DEFAULT = CarParameters()


def read_car_parameters(query: Mapping[str, str], accepted: Sequence[MediaRange]) -> CarParameters:
    """The best item of Accept that can be had, under what the URL says. Raises `RefusedError` (406) if none can.

    `order=unk` is answered in depth-first order: any will do.
    """
    given = {name: query[f"car-{name}"] for name in _KNOWN if f"car-{name}" in query}
    choices = [item.parameters for item in accepted if item.media == CAR_TYPE] or [{}]
    problem = ""
    for choice in choices:
        wanted = {name: value for name, value in choice.items() if name in _KNOWN} | given
        wrong = [f"{name}={value[:20]}" for name, value in wanted.items() if value not in _KNOWN[name]]
        if not wrong:
            return CarParameters(wanted.get("dups") == "y")
        problem = problem or ", ".join(wrong)
    raise RefusedError(406, f"CARs with {problem} are not served: version=1, order=dfs, dups=y or n")
