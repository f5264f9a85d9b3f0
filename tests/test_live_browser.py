"""A browser hears the virtual microphone on PipeWire through getUserMedia."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from sound_server import SAMPLE_RATE, PipeWireServer, needs_pipewire
from test_live_server import start, stop
from virtual_card import aligned_si_sdr_db

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    needs_pipewire,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium (apt-get install chromium chromium-driver)"),
]

LISTEN = """
const done = arguments[arguments.length - 1], seconds = arguments[0];
(async () => {
  await navigator.mediaDevices.getUserMedia({audio: true}).then(s => s.getTracks().forEach(t => t.stop()));
  const devices = await navigator.mediaDevices.enumerateDevices();
  const microphone = devices.find(d => d.kind == "audioinput" && d.label.startsWith("quietmic"));
  if (!microphone) return done({error: devices.map(d => d.label).join(", ")});
  const raw = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const stream = await navigator.mediaDevices.getUserMedia({audio: {deviceId: {exact: microphone.deviceId}, ...raw}});
  const context = new AudioContext({sampleRate: 48000});
  const node = context.createScriptProcessor(4096, 1, 1), blocks = [];
  node.onaudioprocess = event => { blocks.push(Array.from(event.inputBuffer.getChannelData(0))); };
  context.createMediaStreamSource(stream).connect(node);
  node.connect(context.destination);
  window.heard = blocks;
  done({label: microphone.label});
})().catch(error => done({error: String(error)}));
"""


def test_a_browser_hears_the_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    server = PipeWireServer(tmp_path)
    driver = None
    try:
        app = start(server, "--virtual-mic")
        app.wait_for("->")
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-fake-ui-for-media-stream",
                         "--autoplay-policy=no-user-gesture-required"):  # fmt: skip
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=Service(DRIVER, env=server.environment))
        page = tmp_path / "page.html"
        page.write_text("<!doctype html><title>listen</title>")
        driver.get(page.as_uri())
        driver.set_script_timeout(30)
        answer = driver.execute_async_script(LISTEN, 6)
        assert answer.get("label", "").startswith("quietmic"), answer
        time.sleep(2)
        rng = np.random.default_rng(0)
        n = 2 * SAMPLE_RATE
        envelope = 0.1 + np.abs(np.sin(2 * np.pi * 3 * np.arange(n) / SAMPLE_RATE))
        voice = np.convolve(0.02 * envelope * rng.standard_normal(n), np.hanning(31), "same").astype(np.float32)
        server.play(voice)
        time.sleep(4)
        heard = np.concatenate(
            [np.asarray(block, np.float32) for block in driver.execute_script("return window.heard")]
        )
        stop(app)
        app.finish()
    finally:
        if driver:
            driver.quit()
        server.close()
    from quietmic.enhance.resample import StreamResampler

    at_16_khz = StreamResampler(1, 48000, SAMPLE_RATE).process(heard[None])[0]
    quarter = SAMPLE_RATE // 4
    figures_db = [aligned_si_sdr_db(voice[k : k + quarter], at_16_khz)[0] for k in range(0, n, quarter)]
    assert np.median(figures_db) > 15, figures_db
