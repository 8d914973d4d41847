"""The reader of pages: it finds what is wrong, and nothing where nothing is."""

from __future__ import annotations

import pytest

from tests.reading import problems

HEAD = '<!doctype html><html lang="en"><head><title>A page</title></head>'
PAGE = HEAD + "<body><main><h1>A page</h1>{}</main></body></html>"


@pytest.mark.parametrize(
    "part",
    [
        "<p>All is well.</p>",
        '<form action="/search"><input name="q"></form>',
        '<form method="post" action="/x"><input type="hidden" name="csrf_token" value="t"><button>Go</button></form>',
        '<p><img src="/x.png" alt=""><a href="/y">there</a></p>',
    ],
)
def test_what_is_right_is_left_alone(part: str) -> None:
    assert problems(part) == []
    assert problems(PAGE.format(part)) == []


@pytest.mark.parametrize("region", ["<tr><td>one</td></tr>", "<tbody><tr><td>one</td></tr></tbody>", "<li>one</li>"])
def test_a_region_may_be_a_part_that_stands_in_one_place_only(region: str) -> None:
    assert problems(region) == []


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("<div><b>never closed</div></div>", "end-tag"),
        ('<p id="a"></p><p id="a"></p>', "id a is there 2 times"),
        ('<p onclick="x()">no</p>', "onclick"),
        ('<p style="color:red">no</p>', "style or script"),
        ("<script>x()</script>", "style or script"),
        ('<a href="#">no</a>', "leads to #"),
        ('<img src="/x.png">', "says nothing"),
        ("<form><input></form>", "without action"),
        ('<form method="post" action="/x"></form>', "has no token"),
    ],
)
def test_what_is_wrong_is_said(part: str, says: str) -> None:
    assert any(says in found for found in problems(part)), problems(part)


def test_a_page_has_one_of_each() -> None:
    assert problems(PAGE.format("<h1>Another</h1>")) == ["2 <h1> on the page"]
    assert problems("<!doctype html><html><head><title>x</title></head><body></body></html>") == [
        "0 <h1> on the page",
        "0 <main> on the page",
    ]
