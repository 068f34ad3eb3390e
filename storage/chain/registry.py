"""`providers`: who stores data sets, where, what they take: ServiceProviderRegistry. Anybody can be in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...configs.roster import Provider
from ..errors import ConfigError, OversizeError
from ..printable import printable
from .abi import Function, identifier
from .agreed import Anchor, Chain

_PDP = 0  # the product type of proofs of data possession
_INFO = "(address,address,bytes,bytes,bool)"  # texts as bytes: they are anybody's, and not always UTF-8
_WITH_PRODUCT = f"(uint256,{_INFO},(uint8,bytes[],bool),bytes[])"
BY_TYPE = Function("getProvidersByProductType", ("uint8", "bool", "uint256", "uint256"), (f"({_WITH_PRODUCT}[],bool)",))
_PAGE = 10
_MAX_PROVIDERS = 2_000
_DEFAULT_MAX_BYTES = 127 << 23


@dataclass(frozen=True, slots=True)
class StorageProvider:
    """One that says of itself that it stores data sets. `price_tib_day`: in the token's smallest unit; what a service
    such as FWSS charges is the service's own price. `active`: whether it still offers that. Texts are the provider's,
    made printable.
    """

    number: int
    address: str
    payee: str
    name: str
    url: str
    location: str
    min_bytes: int
    max_bytes: int
    price_tib_day: int
    active: bool = True

    @classmethod
    def gone(cls, number: int, address: str) -> StorageProvider:
        """One that the registry says nothing of any more."""
        return cls(number, address, "", "", "", "", 0, 0, 0, active=False)

    def takes(self, size: int) -> bool:
        """Whether a piece of so many bytes is within what it takes."""
        return self.min_bytes <= size <= self.max_bytes


def providers(chain: Chain, registry: str, at: Anchor, *, retired: bool = False) -> list[StorageProvider]:
    """All that are active and name an http(s) URL, by their numbers; those that were, too, if `retired`.

    Raises as `Chain` does.
    """
    found: list[StorageProvider] = []
    offset = 0
    while True:
        data = BY_TYPE.encode(_PDP, not retired, offset, _PAGE)
        page, count, more = read_page(chain.call(registry, data, at))
        found += [one for one in page if one.active or retired]
        offset += count
        if offset > _MAX_PROVIDERS:
            raise OversizeError(f"the registry names more than {_MAX_PROVIDERS} providers")
        if not more or not count:
            return found


def read_page(data: bytes) -> tuple[list[StorageProvider], int, bool]:
    """Providers as a contract answers, how many entries they were, and whether there are more. Raises
    `WrongBytesError`.
    """
    page, more = BY_TYPE.decode(data)[0]
    return [one for entry in page if (one := _provider(entry)) is not None], len(page), more


def _provider(entry: tuple[Any, ...]) -> StorageProvider | None:
    number, (address, payee, name, _, active), (_, keys, offered), values = entry
    identifier(number, "a provider")
    about = dict(zip((_text(key) for key in keys), values, strict=False))
    url = _text(about.get("serviceURL", b"")).rstrip("/")
    try:
        Provider.at(url, "filecoin")
    except ConfigError:  # no URL: it cannot be reached, and must not keep others from it
        return None
    return StorageProvider(
        number, address.lower(), payee.lower(), _text(name)[:100], url, _text(about.get("location", b"")),
        _number(about.get("minPieceSizeInBytes"), 0), _number(about.get("maxPieceSizeInBytes"), _DEFAULT_MAX_BYTES),
        _number(about.get("storagePricePerTibPerDay"), 0), bool(active and offered),
    )  # fmt: skip


def _text(value: bytes) -> str:
    return printable(value.decode("utf-8", "replace"), 300)


def _number(value: bytes | None, default: int) -> int:
    return default if value is None or len(value) > 32 else int.from_bytes(value, "big")
