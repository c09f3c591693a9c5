"""Who is answered: host names, the token, and the headers that every answer carries."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import logging
import secrets
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from learnguard.errors import LearnGuardError
from learnguard.settings import Settings
from learnguard.web.languages import preferred
from learnguard.web.problems import Problem, inside

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
#: Answered without a token: they say that the process lives and can work, and nothing else.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
TOKEN_LENGTH: Final = 16
_LOG: Final = logging.getLogger("learnguard.web")

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cache-Control": "no-store",
    }
)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_access(settings: Settings) -> None:
    """Raise LearnGuardError where ``settings`` would let anybody in: no token (or a weak one) beyond loopback."""
    hint = "Set LEARNGUARD_API_TOKEN to a random text, for example of: openssl rand -hex 32"
    if settings.api_token and len(settings.api_token) < TOKEN_LENGTH:
        raise LearnGuardError(f"the API token is shorter than {TOKEN_LENGTH} characters", hint=hint)
    if not settings.api_token and not is_loopback(settings.host):
        raise LearnGuardError(
            f"listening on {settings.host} needs an API token: others than this machine would reach the records",
            hint=f"{hint}. Or listen on 127.0.0.1.",
        )


class Guard:
    """Refuses what may not be answered, and puts :data:`HEADERS` on every answer that does not set its own.

    Without a token only loopback host names are answered, so that no page of another site reaches this server through
    a name of its own (DNS rebinding). With a token every host name is, and every request must bring it: as
    ``Authorization: Bearer``, or as the password of the browser's own dialogue.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.token = settings.api_token.encode()
        self.lang = settings.lang
        self.names = LOOPBACK_NAMES | ({settings.host.strip("[]")} if is_loopback(settings.host) else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (the ASGI interface)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        is_begun = False

        async def shielded(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        problem = self._refusal(scope)
        if problem is None:
            try:
                await self.app(scope, receive, shielded)
            except Exception as error:
                problem = self._failed(error)
                if is_begun:
                    # Half an answer is out: only breaking off tells the reader so.
                    raise
        if problem is not None:
            lang = preferred(Headers(scope=scope).get("accept-language"), self.lang)
            await problem.response(lang)(scope, receive, shielded)

    def _failed(self, error: Exception) -> Problem:
        reference = secrets.token_hex(4)
        # Without the error's own text: it may quote rows, and rows hold personal data.
        trace = "".join(traceback.format_tb(error.__traceback__))
        _LOG.error("request failed, reference %s: %s\n%s", reference, type(error).__name__, trace)
        return inside(reference)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if not self.token:
            hosts = headers.getlist("host")
            if len(hosts) == 1 and _host_name(hosts[0]) in self.names:
                return None
            return Problem(
                "foreign-host",
                "未设置访问令牌时，只接受 localhost、127.0.0.1 和 [::1]。",
                "Without a token only localhost, 127.0.0.1 and [::1] are answered.",
            )
        path: str = scope["path"]
        if path in OPEN_PATHS or _brings(headers.get("authorization"), self.token):
            return None
        # A browser asks its user for a password only where Basic is offered; programs are told Bearer.
        challenge = "Bearer" if path.startswith("/api/") else 'Basic realm="LearnGuard", charset="UTF-8"'
        return Problem(
            "token-needed",
            "请在请求头 Authorization 中以 Bearer 方式提供令牌；浏览器中用户名任填，密码填令牌。",
            "Send the token as Authorization: Bearer; in a browser give it as the password, with any user name.",
            headers={"WWW-Authenticate": challenge},
        )


def _host_name(header: str) -> str | None:
    """The name in a ``Host`` header, without port and brackets."""
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == header and parts.username is None else None


def _brings(authorization: str | None, token: bytes) -> bool:
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return hmac.compare_digest(given.strip().encode("latin-1"), token)
    if scheme.lower() == "basic":
        try:
            _, _, password = base64.b64decode(given.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(password, token)
    return False
