"""The shop that the troubleshooting pages' tests look at."""

from __future__ import annotations

import pytest

from tests.rows import Rows
from tests.webapp.views.troubleshooting import Shop, make_shop


@pytest.fixture
def shop(request: pytest.FixtureRequest, rows: Rows) -> Shop:
    """A workspace with one connected store, in the test's app."""
    app = request.getfixturevalue("any_app" if "any_app" in request.fixturenames else "app")
    return make_shop(app, rows)
