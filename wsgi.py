"""The WSGI entry point: `gunicorn wsgi:app`, `flask --app wsgi ...`."""

import sys

from webapp import create_app
from webapp.settings import WrongSetting

try:
    app = create_app()
except WrongSetting as problem:
    sys.exit(str(problem))
