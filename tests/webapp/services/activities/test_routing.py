"""Which connection an activity goes to: exactly one, never another store's."""

from __future__ import annotations

import pytest

from webapp.catalogue.reasons import Reason
from webapp.services.activities.routing import Route, route
from webapp.services.workspaces.snapshot import LiveConnection, WorkspaceSettings

SE, NO, DK = 1, 2, 3
OF_SE, OF_NO, STORELESS = LiveConnection(10, SE), LiveConnection(20, NO), LiveConnection(30, None)


def settings(*connections: LiveConnection) -> WorkspaceSettings:
    return WorkspaceSettings(1, 1, {}, {}, connections, frozenset(), {}, frozenset())


@pytest.mark.parametrize(
    ("connections", "store", "home", "found"),
    [
        ([], SE, None, Route(None, Reason.NOT_CONNECTED, "not_connected")),
        ([OF_SE, OF_NO], SE, None, Route(10, None, "store")),
        ([OF_SE, OF_NO], NO, SE, Route(20, None, "store")),
        ([OF_SE, STORELESS], NO, SE, Route(30, None, "storeless")),
        ([OF_SE, OF_NO], DK, SE, Route(None, Reason.NO_ROUTE, "no_route")),
        ([OF_SE], DK, None, Route(None, Reason.NO_ROUTE, "no_route")),
        ([STORELESS], DK, None, Route(30, None, "storeless")),
        ([OF_SE, OF_NO], None, NO, Route(20, None, "home_store")),
        ([OF_SE, STORELESS], None, DK, Route(30, None, "storeless")),
        ([OF_SE], None, DK, Route(None, Reason.NO_ROUTE, "no_route")),
        ([OF_SE], None, None, Route(10, None, "only_connection")),
        ([OF_SE, STORELESS], None, None, Route(30, None, "storeless")),
        ([OF_SE, OF_NO], None, None, Route(None, Reason.NO_ROUTE, "no_route")),
    ],
)
def test_routing(connections: list[LiveConnection], store: int | None, home: int | None, found: Route) -> None:
    assert route(settings(*connections), store, home) == found
