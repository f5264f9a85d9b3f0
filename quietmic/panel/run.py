"""The panel put together from its parts."""

from collections.abc import Callable
from typing import Any

from quietmic.enhance.catalogue import list_models
from quietmic.enhance.errors import QuietmicError
from quietmic.panel.desk import Desk
from quietmic.panel.options import PanelOptions
from quietmic.panel.scratch import scratch_folder
from quietmic.panel.server import Server
from quietmic.panel.work import Work


def run_panel(options: PanelOptions, desk: Desk, announce: Callable[[str], None]) -> None:
    """Serves the panel until it is interrupted; the live part runs in the calling thread, which is the main one.

    Args:
        options: how it is served.
        desk: the live part.
        announce: called with the address, token included, once the page can be opened.

    Raises:
        QuietmicError: the address cannot be had, a package is missing, or no model is installed.
    """
    models = tuple(entry.name for entry in sorted(list_models(), key=lambda entry: not entry.is_default))
    if not models:
        raise QuietmicError("no models are installed")
    with scratch_folder() as folder:
        work = Work()

        def make_app() -> Any:
            from starlette.applications import Starlette

            from quietmic.panel.guard import Guard
            from quietmic.panel.routes import Refusal, Services, make_routes, refused
            from quietmic.panel.visits import Visits

            visits = Visits(folder / "visits", options, work.remove)
            desk.open(folder / "recordings", models, lambda message: _show(server, visits, message))
            handlers = {Refusal: refused, QuietmicError: refused}
            routes = make_routes(Services(options, visits, work, desk, models))
            return Guard(Starlette(routes=routes, exception_handlers=handlers), options)

        server = Server(make_app, options)
        try:
            with server:
                announce(server.address + (f"?token={options.token}" if options.token else ""))
                desk.run()
        finally:
            work.close()


def _show(server: Server, visits: Any, message: dict[str, Any]) -> None:
    """Sends what happens in the live part to all pages, from whatever thread."""

    def put() -> None:
        for visit in visits:
            (visit.outbox.show if "meters" in message else visit.outbox.put)(message)

    server.call(put)
