"""The report as a page and the checks as an API. ``create_app(settings)``; nothing happens at import."""

from learnguard.web.app import create_app

__all__ = ["create_app"]
