"""Takes the picture of the panel that README shows, in a headless Chromium: python tools/picture_panel.py.

Writes docs/pictures/panel.png. Needs chromium and chromium-driver, and the extra `test`.
"""

import io
import os
import sys
import tempfile
from pathlib import Path

import click
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from chromium import set_screen, start_browser, wait_for  # noqa: E402
from panel_visitor import open_panel  # noqa: E402

from quietmic.panel.options import PanelOptions  # noqa: E402

RECORDING = ROOT / "recordings" / "mono_street_noisy.wav"
PICTURE = ROOT / "docs" / "pictures" / "panel.png"
COLOURS = 64  # more make it larger and no clearer


@click.command()
@click.option("--width", default=900, show_default=True, help="Of the page, pixels.")
def main(width: int) -> None:
    """Open the panel, let it enhance a recording, and keep what is seen of it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        with open_panel(PanelOptions(port=0)) as address:
            browser = start_browser()
            try:
                set_screen(browser, width, "light", 820)
                browser.get(address)
                wait_for(browser, "#file-model option")
                browser.find_element("id", "chooser").send_keys(str(RECORDING))
                wait_for(browser, "#list > li", lambda card: card.get_attribute("data-state") == "done")
                wait_for(browser, "canvas.picture", lambda canvas: canvas.size["width"] > width / 2)
                picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
            finally:
                browser.quit()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    click.echo(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
