"""What the server answers: the page, a socket for each page that is open, and its files."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from quietmic.enhance.errors import QuietmicError, told
from quietmic.panel.archive import zip_pieces
from quietmic.panel.names import attachment, distinct, safe_ending, shown_name
from quietmic.panel.options import PanelOptions
from quietmic.panel.uploads import check_room, receive
from quietmic.panel.visits import Item, Visit, Visits
from quietmic.panel.wishes import file_wish, read_object
from quietmic.panel.work import Work

_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_MAX_JSON = 4096
_AT_REST = ("uploaded", "done", "failed")  # states of a file that may be enhanced, or once more


class Steering(Protocol):
    """What the live part of the page speaks to; see `quietmic.panel.desk.Desk`."""

    def recordings(self) -> dict[str, Path]:
        """The files of all recordings by name."""

    def greeting(self) -> dict[str, Any]:
        """What a page has to know when it comes."""

    def obey(self, order: dict[str, Any]) -> None:
        """Does what a page asks; raises QuietmicError where that cannot be."""


@dataclass(frozen=True)
class Services:
    """What the routes work with.

    Attributes:
        options: of the panel.
        visits: pages that are open.
        work: enhances.
        desk: the live part.
        models: names that may be asked for.
    """

    options: PanelOptions
    visits: Visits
    work: Work
    desk: Steering
    models: tuple[str, ...]


class Refusal(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def refused(request: Request, error: Exception) -> Response:
    """What the page shows of an error."""
    status = error.status if isinstance(error, Refusal) else 400
    return JSONResponse({"error": str(error)}, status)


def load_assets() -> dict[str, Response]:
    """The parts of the page by name, read once: no name of a request ever becomes a path."""
    folder = files("quietmic.panel") / "static"
    return {
        entry.name: Response(entry.read_bytes(), media_type=_TYPES[entry.name[entry.name.rindex(".") :]])
        for entry in folder.iterdir()
        if entry.name.endswith(tuple(_TYPES))
    }


def make_routes(services: Services) -> list[Route | WebSocketRoute]:
    """All that can be asked for."""
    pages = Pages(services)
    one = "/visits/{visit}/files/{number:int}"
    return [
        Route("/", pages.asset, methods=["GET"]),
        Route("/static/{name}", pages.asset, methods=["GET"]),
        WebSocketRoute("/socket", pages.socket),
        Route("/visits/{visit}/files", pages.upload, methods=["PUT"]),
        Route(one, pages.enhance, methods=["POST"]),
        Route(one, pages.remove, methods=["DELETE"]),
        Route(f"{one}/{{what}}", pages.give, methods=["GET"]),
        Route("/visits/{visit}/all.zip", pages.give_all, methods=["GET"]),
        Route("/recordings/{name}", pages.give_recording, methods=["GET"]),
    ]


class Pages:
    """The answers to all that can be asked for."""

    def __init__(self, services: Services) -> None:
        """Reads the parts of the page."""
        self._services, self._assets = services, load_assets()
        self._running: set[asyncio.Task[None]] = set()

    async def asset(self, request: Request) -> Response:
        """The page, or a part of it."""
        found = self._assets.get(request.path_params.get("name", "index.html"))
        if found is None:
            raise Refusal(404, "there is no such part of the page")
        return found

    async def socket(self, socket: WebSocket) -> None:
        """The connection of a page: what happens goes there, what is steered comes from there."""
        await socket.accept()
        try:
            visit = self._services.visits.connect(socket.query_params.get("visit", ""))
        except QuietmicError as error:
            await socket.send_json({"error": str(error)})
            await socket.close(1013)
            return
        visit.outbox.put({"visit": visit.key, "models": list(self._services.models), **self._services.desk.greeting()})
        for item in visit.items.values():
            visit.outbox.put({"file": item.to_dict()})
        sender = asyncio.create_task(_send_all(socket, visit))
        try:
            async for text in socket.iter_text():
                try:
                    self._services.desk.obey(read_object(text))
                except QuietmicError as error:
                    visit.outbox.put({"error": str(error)})
        finally:
            sender.cancel()
            self._services.visits.disconnect(visit)

    def _visit(self, request: Request) -> Visit:
        visit = self._services.visits.find(request.path_params["visit"])
        if visit is None:
            raise Refusal(404, "this page has been away for too long: load it anew")
        return visit

    def _item(self, request: Request) -> Item:
        item = self._visit(request).items.get(request.path_params["number"])
        if item is None:
            raise Refusal(404, "there is no such file")
        return item

    async def upload(self, request: Request) -> Response:
        """Takes a file in; how it is enhanced is asked for afterwards."""
        visit, options = self._visit(request), self._services.options
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or len(length) > 15 or "transfer-encoding" in request.headers:
            raise Refusal(411, "an upload has to say how long it is")
        n_bytes = int(length)
        if len(visit.items) >= options.max_files:
            raise Refusal(413, f"{options.max_files} files are the most: remove some")
        if visit.n_bytes + n_bytes > options.max_bytes:
            raise Refusal(413, f"{options.max_bytes / 1e9:.1f} GB in all are the most: remove some files")
        name = shown_name(request.query_params.get("name", ""))
        item = visit.add(name, safe_ending(name), n_bytes)
        try:
            check_room(item.folder, n_bytes)
            await receive(request.stream(), n_bytes, item.source)
        except (QuietmicError, ClientDisconnect, OSError) as error:
            visit.items.pop(item.number, None)
            self._services.work.remove_item(item)
            raise Refusal(400, told(error) or "the upload broke off: send the file again") from error
        item.state = "uploaded"
        return JSONResponse(item.to_dict(), 201)

    async def enhance(self, request: Request) -> Response:
        """Begins to enhance a file; the socket tells how far it is."""
        visit, item = self._visit(request), self._item(request)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _MAX_JSON:
                raise Refusal(413, "that is too long")
        wish = file_wish(read_object(body), self._services.models)
        if item.state not in _AT_REST:
            raise Refusal(409, "this file is still at work")
        item.state = "waiting"

        def tell() -> None:
            if not item.is_gone:
                visit.outbox.put({"file": item.to_dict()})

        task = asyncio.create_task(self._services.work.enhance(item, wish, tell))
        self._running.add(task)  # else it may be collected before it is done
        task.add_done_callback(self._running.discard)
        return JSONResponse(item.to_dict(), 202)

    async def remove(self, request: Request) -> Response:
        """Takes a file away."""
        item = self._item(request)
        self._visit(request).items.pop(item.number)
        self._services.work.remove_item(item)
        return Response(status_code=204)

    async def give(self, request: Request) -> Response:
        """The enhanced file, the sound of both, or the pictures."""
        item, what = self._item(request), request.path_params["what"]
        if item.state != "done" or item.target is None or item.sound is None or item.preview is None:
            raise Refusal(409, "it is not done yet")
        if what == "enhanced":
            headers = {"content-disposition": attachment(item.output)}
            return FileResponse(item.target, headers=headers, media_type="application/octet-stream")
        if what == "sound":
            return FileResponse(item.sound, media_type="audio/flac")
        if what == "pictures":
            return JSONResponse(item.preview.to_dict())
        raise Refusal(404, "there is no such thing of a file")

    async def give_all(self, request: Request) -> Response:
        """All enhanced files in one."""
        done = [item for item in self._visit(request).items.values() if item.state == "done" and item.target]
        if not done:
            raise Refusal(409, "nothing is done yet")
        names = distinct([item.output for item in done])
        pieces = zip_pieces([(name, item.target) for name, item in zip(names, done, strict=True) if item.target])
        headers = {"content-disposition": attachment("quietmic.zip")}
        return StreamingResponse(_in_threads(pieces), media_type="application/zip", headers=headers)

    async def give_recording(self, request: Request) -> Response:
        """What a live run has recorded."""
        name = request.path_params["name"]
        path = self._services.desk.recordings().get(name)  # looked up: no name of a request ever becomes a path
        if path is None:
            raise Refusal(404, "there is no such recording")
        return FileResponse(path, headers={"content-disposition": attachment(name)}, media_type="audio/flac")


async def _send_all(socket: WebSocket, visit: Visit) -> None:
    outbox = visit.outbox
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.send_json(await outbox.next())


async def _in_threads(pieces: Any) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
