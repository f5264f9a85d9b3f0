"""A headless Chromium, and pages looked at in it."""

import io
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required")


def start_browser() -> Any:
    """A headless Chromium, to be quit."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests of a module."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("chromium and chromedriver are not installed")
    driver = start_browser()
    yield driver
    driver.quit()


def set_screen(browser: Any, width: int, scheme: str, height: int = 900) -> None:
    """Makes the window so wide, and the system light or dark."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def take_picture(browser: Any) -> NDArray[np.float32]:
    """What is seen, [height, width, 3]."""
    picture: NDArray[np.float32] = matplotlib.image.imread(io.BytesIO(browser.get_screenshot_as_png()))
    return picture[..., :3]


def wait_for(browser: Any, what: str, ready: Callable[[Any], bool] = lambda found: True) -> Any:
    """The element that a selector finds, once it is as it should be."""
    end = time.monotonic() + 60
    while True:
        found = browser.find_elements("css selector", what)
        if found and ready(found[0]):
            return found[0]
        assert time.monotonic() < end, (what, browser.get_log("browser"))
        time.sleep(0.05)
