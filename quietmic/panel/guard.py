"""Who may speak to the panel: what every request passes before anything else sees it.

A page of some other site can make the browser send requests here, and a name of its own can be made to lead here (DNS
rebinding). So the name that was asked for must be one of ours, which no such name is; a request that tells where it
comes from must come from our own page; and beyond this machine the token must be there, for the page as for the rest.
"""

import asyncio
import hmac
import ipaddress
import re
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quietmic.panel.options import PanelOptions, own_names

COOKIE = "quietmic-panel"
_HOST = re.compile(r"[\w.-]*(:\d+)?|\[[\da-fA-F:.]+\](:\d+)?")  # it goes into a header of the answer
_SLOW_DOWN_S = 0.5  # after a wrong token
_ENTER = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>quietmic</title>
<form action="/"><p><label>Token that was printed when the panel was started<br>
<input name="token" type="password" autocomplete="current-password" required></label></p>
<p><button>Open</button></p></form></html>"""


class Guard:
    """Refuses foreign names, foreign pages and missing tokens; adds headers that keep the page from reaching out."""

    def __init__(self, app: ASGIApp, options: PanelOptions) -> None:
        """Stands before an application.

        Args:
            app: what is guarded.
            options: token, and whether only this machine reaches it.
        """
        self._app, self._options = app, options
        self._names = own_names(options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refuse(headers) or await self._ask_for_token(scope, headers)
        if refusal is None:
            await self._app(scope, receive, self._with_headers(scope, headers, send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, self._with_headers(scope, headers, send))

    def _refuse(self, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return PlainTextResponse("this panel does not answer to that name: use its address", 421)
        origin = headers.get("origin")
        is_foreign = origin is not None and origin != f"http://{host}"
        if is_foreign or headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            if origin is None and headers.get("sec-fetch-mode") == "navigate":
                return None  # a link to the page, whose answer the other site does not see
            return PlainTextResponse("this panel answers its own page alone", 403)
        return None

    def _is_ours(self, host: str) -> bool:
        """An address in figures leads nowhere else; of names only our own count, and nothing beside name and port."""
        if not _HOST.fullmatch(host):
            return False
        name = urlsplit(f"//{host}").hostname or ""
        try:
            return ipaddress.ip_address(name).is_loopback or not self._options.is_local
        except ValueError:
            return name in self._names

    async def _ask_for_token(self, scope: Scope, headers: Headers) -> Response | None:
        token = self._options.token
        if token is None or _matches(_cookie(headers), token):
            return None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
        if scope["type"] == "http" and scope["path"] == "/" and given:
            if _matches(given[0], token):
                answer = RedirectResponse("/", 303)
                answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
                return answer
            await asyncio.sleep(_SLOW_DOWN_S)
        return HTMLResponse(_ENTER, 401)

    def _with_headers(self, scope: Scope, headers: Headers, send: Send) -> Send:
        if scope["type"] != "http":
            return send
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
            f"connect-src 'self' ws://{headers.get('host')}; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        extra = {
            "content-security-policy": policy,
            "cross-origin-resource-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
            await send(message)

        return send_with_headers


def _matches(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _cookie(headers: Headers) -> str:
    from starlette.requests import cookie_parser

    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
