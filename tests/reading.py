"""A test client that reads every page it is given: bad HTML fails whichever test met it first."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import html5lib
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

# What a region may begin with that HTML allows in one place only.
CONTAINERS = {"tr": "tbody", "td": "tr", "th": "tr", "tbody": "table", "thead": "table", "option": "select", "li": "ul"}
_FIRST_TAG = re.compile(r"(?:<!--.*?-->|\s)*<(\w+)", re.DOTALL)


class ReadingClient(FlaskClient):
    """Flask's test client; every HTML answer is read as a browser would, without its forgiveness."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        """The answer. Fails where its HTML is wrong."""
        answer = super().open(*args, **kwargs)
        if answer.mimetype == "text/html" and not answer.is_streamed and 0 < answer.status_code not in range(300, 400):
            found = problems(answer.get_data(as_text=True))
            assert not found, f"{answer.request.method} {answer.request.path}: {'; '.join(found)}"
        return answer


def problems(html: str) -> list[str]:
    """What is wrong with a page, or with a region of one."""
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
    is_page = html.lstrip().lower().startswith("<!doctype")
    if is_page:
        root = parser.parse(html)
    else:
        first = _FIRST_TAG.match(html)
        root = parser.parseFragment(html, container=CONTAINERS.get(first[1] if first else "", "div"))
    errors = [f"{code} {values} near line {line}" for (line, _), code, values in parser.errors]
    return [*errors, *_structure(root), *(_whole(root) if is_page else ())]


def _structure(root: Any) -> list[str]:
    elements = [each for each in root.iter() if isinstance(each.tag, str)]
    found = [f"id {name} is there {count} times" for name, count in _repeated(elements)]
    for each in elements:
        found += _element(each)
    return found


def _repeated(elements: list[Any]) -> list[tuple[str, int]]:
    ids = Counter(each.get("id") for each in elements if each.get("id") is not None)
    return [(name, count) for name, count in ids.items() if count > 1]


def _element(each: Any) -> list[str]:
    found = [f"<{each.tag}> has {name}, which our policy forbids" for name in each.attrib if name.startswith("on")]
    if each.tag == "style" or each.get("style") is not None or (each.tag == "script" and not each.get("src")):
        found.append(f"<{each.tag}> holds style or script, which our policy forbids")
    if each.tag == "a" and each.get("href") == "#":
        found.append("a link leads to #: dead without JavaScript")
    if each.tag == "img" and each.get("alt") is None:
        found.append("an image says nothing to who cannot see it")
    if each.tag == "form":
        found += _form(each)
    return found


def _form(form: Any) -> list[str]:
    if not form.get("action"):
        return ["a form without action"]
    names = {each.get("name") for each in form.iter() if isinstance(each.tag, str)}
    if form.get("method", "get").lower() == "post" and "csrf_token" not in names:
        return [f"the form to {form.get('action')} changes something and has no token"]
    return []


def _whole(root: Any) -> list[str]:
    count = Counter(each.tag for each in root.iter() if isinstance(each.tag, str))
    return [f"{count[tag]} <{tag}> on the page" for tag in ("h1", "main", "title") if count[tag] != 1]
