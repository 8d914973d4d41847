"""The ingest API's own description."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from webapp.extensions import settings
from webapp.http.access import public
from webapp.services.activities import openapi
from webapp.views import api

blueprint = Blueprint("openapi", __name__)


@blueprint.get(f"{api.blueprint.url_prefix}/openapi.json")
@public
def show() -> ResponseReturnValue:
    """An OpenAPI 3.1 document, made from the catalogue."""
    limits = openapi.Limits(activities=api.ACTIVITIES, body_bytes=api.BODY_BYTES)
    return jsonify(openapi.document(settings().public_url, limits))
