"""The web app in a process that strikes itself; see `tests.faults.mortal`."""

from tests.faults import mortal
from webapp import create_app

mortal.set_up()
app = create_app()
