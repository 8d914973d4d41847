"""The WSGI entry point: `gunicorn wsgi:app`, `flask --app wsgi ...`."""

import sys

from webapp import create_app
from webapp.settings import WrongSetting

GUNICORN_GIVES_UP = 4  # its APP_LOAD_ERROR: after any other exit it starts the worker again, for ever

try:
    app = create_app()
except WrongSetting as problem:
    sys.stderr.write(f"{problem}\n")
    sys.exit(GUNICORN_GIVES_UP)
