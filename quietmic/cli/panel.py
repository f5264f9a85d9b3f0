"""The command `panel`: a page in the browser, to try it on and to steer it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from quietmic.cli.options import device_options, gather, live_band_option, live_model_option

if TYPE_CHECKING:
    from quietmic.devices.engine import Candidate
    from quietmic.enhance.served import Band
    from quietmic.panel.options import PanelOptions
    from quietmic.panel.orders import LiveWish


def make_options(host: str, port: int, token: str | None) -> "PanelOptions":
    """How the panel is served."""
    from quietmic.panel.options import panel_options

    return panel_options(host, port, token)


def make_wish(
    model: str | None,
    attenuation_limit_db: float | None,
    input_name: str | None,
    output_name: str | None,
    channels: tuple[int, ...] | None,
    array: str | None,
    virtual_microphone: bool,
) -> "LiveWish":
    """How a live run begins."""
    from quietmic.panel.orders import LiveWish

    return LiveWish(input_name, output_name, model, attenuation_limit_db, channels, array, virtual_microphone)


@click.command(short_help="Enhance files and steer a live run in the browser.")
@gather(
    "options", make_options,
    click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; others need a token."),
    click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 for a free one."),
    click.option(
        "--token", metavar="TEXT", envvar="QUIETMIC_TOKEN",
        help="What opens the page; also QUIETMIC_TOKEN. Beyond this machine one is made if none is given.",
    ),
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Only print the address of the page.")
@click.option("--live", "begins", is_flag=True, help="Begin a live run at once.")
@gather("wish", make_wish, live_model_option, device_options)
@live_band_option
def panel(
    options: "PanelOptions", no_browser: bool, begins: bool, wish: "LiveWish", band: "Band | None"
) -> None:  # fmt: skip
    """Open a page on which files are enhanced and a live run is steered; it ends with Ctrl-C.

    Only this machine reaches it, unless --host says otherwise.
    """
    import webbrowser
    from contextlib import suppress

    from quietmic.cli.candidates import live_candidates
    from quietmic.devices.board import detect_board
    from quietmic.devices.live import tidy_endings
    from quietmic.panel.desk import Desk
    from quietmic.panel.run import run_panel

    def announce(address: str) -> None:
        address += "#live" if begins else ""
        click.echo(f"quietmic is at {address}")
        if options.is_local and not no_browser:
            webbrowser.open(address)

    def open_candidates(model: str | None, preferred: str) -> "Sequence[Candidate]":
        return live_candidates(model, preferred, not model, band)

    desk = Desk(detect_board()[0], open_candidates, wish, begins)
    with tidy_endings(), suppress(KeyboardInterrupt):  # however it is ended, nothing stays behind
        run_panel(options, desk, announce)
