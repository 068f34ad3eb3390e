"""`choose`: which storage providers keep the copies: those that are named, then the cheapest that fit. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from ...configs.filecoin import Filecoin, format_usdfc
from ...storage.chain.registry import StorageProvider
from ...storage.errors import ConfigError

_DAYS = 30


def named(known: Sequence[StorageProvider], url: str) -> StorageProvider:
    """The provider at a URL of the roster. Raises `ConfigError` for one that the registry does not name: who is paid,
    and whose proofs count, is said there.
    """
    found = [one for one in known if same_place(one.url, url)]
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} providers of the registry say that they are at {url}",
            hint="ask the provider which one it is; this one cannot be named by its URL",
        )
    if found:
        return found[0]
    raise ConfigError(
        f"no active provider of the registry has the URL {url}", hint="`holdfast piece providers` lists those it has"
    )


def choose(
    known: Sequence[StorageProvider],
    table: Filecoin,
    sizes: Sequence[int],
    count: int,
    *,
    taken: Collection[int] = (),
    before: Collection[int] = (),
    approved: Collection[int] | None = None,
) -> list[StorageProvider]:
    """`count` providers that take pieces of all `sizes`, by `location` and `max_price`.

    Those that had data of ours `before` come first, for a data set costs a fee of its own; then the cheaper one, then
    the older one; of equal ones in this order, one in a location that is not among the copies yet. `taken`: those that
    are in it already. `approved`: by the service, if it keeps such a list: prices in the registry are anybody's.
    Raises `ConfigError` that says why others are out.
    """
    out: dict[str, int] = {}
    fit = []
    for one in known:
        if one.number in taken:
            continue
        why = _unfit(one, table, sizes)
        if approved is not None and one.number not in approved:
            why = "are not approved by the service"
        if why:
            out[why] = out.get(why, 0) + 1
        else:
            fit.append(one)
    fit.sort(key=lambda one: (one.number not in before, one.price_tib_day, one.number))
    found: list[StorageProvider] = []
    places = {one.location for one in known if one.number in taken}
    while len(found) < count and fit:
        best = fit[0]
        equal = [
            one
            for one in fit
            if (one.number in before, one.price_tib_day) == (best.number in before, best.price_tib_day)
        ]
        one = next((one for one in equal if one.location not in places), best)
        fit.remove(one)
        places.add(one.location)
        found.append(one)
    if len(found) < count:
        reasons = "; ".join(f"{number} {why}" for why, number in sorted(out.items())) or "it names no others"
        raise ConfigError(
            f"the registry has {len(found)} fitting providers, {count} are wanted ({reasons})",
            hint="name fewer copies, a higher max_price, another location, or providers by their URLs",
        )
    return found


def _unfit(one: StorageProvider, table: Filecoin, sizes: Sequence[int]) -> str:
    if not all(one.takes(size) for size in sizes):
        return "take no pieces of this size"
    if table.location.casefold() not in one.location.casefold():
        return f"are not in {table.location}"
    if table.max_price is not None and one.price_tib_day * _DAYS > table.max_price:
        return f"ask for more than {format_usdfc(table.max_price)} a TiB and month"
    return ""


def same_place(one: str, other: str) -> bool:
    """Whether two URLs are of one provider."""
    return _place(one) == _place(other)


def _place(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower(), parts.path.rstrip("/")
