"""What a person asks of the connection table: the query of its address, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote_plus

from webapp.forms.numbers import page as page_number

LIVE, NEEDS_YOU, DELIVERING, PAUSED, WAITING, DISCONNECTED = (
    "",
    "needs_you",
    "delivering",
    "paused",
    "waiting",
    "disconnected",
)
STATUSES = {
    LIVE: "All live",
    NEEDS_YOU: "Need you",
    DELIVERING: "Delivering",
    PAUSED: "Paused",
    WAITING: "With something waiting",
    DISCONNECTED: "Disconnected",
}
SORTS = ("added", "store", "account", "status", "last", "waiting")
SEARCH_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Filters:
    """`status` of STATUSES; `search` in store and account; `sort` of SORTS, `down` the other way; `page` from 1."""

    status: str = LIVE
    search: str = ""
    sort: str = "added"
    down: bool = False
    page: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether everything live is shown."""
        return not self.status and not self.search

    def query(self, **changes: Any) -> str:
        """The query string, `?` included where there is one, with some things changed; another page 1 unless named."""
        wanted = replace(self, **{"page": 1, **changes})
        order = ("-" if wanted.down else "") + wanted.sort
        pairs = {
            "status": wanted.status,
            "search": quote_plus(wanted.search),
            "sort": "" if order == "added" else order,
            "page": str(wanted.page) if wanted.page > 1 else "",
        }
        text = "&".join(f"{name}={value}" for name, value in pairs.items() if value)
        return f"?{text}" if text else ""

    def sorted_by(self, sort: str) -> str:
        """The query string of a column's heading: by it, or by it the other way round."""
        return self.query(sort=sort, down=not self.down if self.sort == sort else sort in {"last", "waiting"})


def filters(query: Mapping[str, str]) -> Filters:
    """From the address; what makes no sense is as if it were not there."""
    status, sort, page = query.get("status", ""), query.get("sort", ""), query.get("page", "")
    down = sort.startswith("-")
    sort = sort.removeprefix("-")
    return Filters(
        status=status if status in STATUSES else LIVE,
        search=" ".join(query.get("search", "").split())[:SEARCH_LENGTH],
        sort=sort if sort in SORTS else "added",
        down=down and sort in SORTS,
        page=page_number(page),
    )
