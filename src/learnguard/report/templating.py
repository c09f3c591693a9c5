"""Templates and the content security policy's digests: one way for every page."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

import jinja2


@functools.cache
def environment(package: str) -> jinja2.Environment:
    """The templates of ``package``: everything is escaped, and a name that is not given is an error."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def asset(package: str, name: str) -> str:
    """A style or script beside the templates of ``package``, as it is put into a page."""
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8").strip()


def digest(text: str) -> str:
    """The source expression under which a content security policy lets inline ``text`` through."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
