"use strict";
/* Dark to bright with even steps of lightness: position, red, green, blue; between them linear. */
const COLOURS = [
  [0, 8, 10, 30], [50, 48, 18, 92], [100, 118, 28, 110], [150, 196, 50, 92], [200, 244, 128, 62], [255, 252, 246, 190],
];
const GAP = 6, TEXT = "600 13px system-ui, sans-serif";

/** Colour of each level, 0..255, as [red, green, blue]. */
export const PALETTE = Array.from({ length: 256 }, (_, level) => {
  const upper = COLOURS.findIndex(([at]) => at >= level), [high, ...to] = COLOURS[upper];
  const [low, ...from] = COLOURS[Math.max(0, upper - 1)];
  const part = high === low ? 0 : (level - low) / (high - low);
  return from.map((value, k) => Math.round(value + part * (to[k] - value)));
});

/** Bytes out of base64. */
export function bytes(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}

/** Draws the waves of before and after over each other, and their spectrograms one above the other. */
export function drawPictures(canvas, pictures) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return; // not shown yet
  canvas.width = width * scale;
  canvas.height = height * scale;
  const picture = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  picture.scale(scale, scale);
  picture.fillStyle = colour("--card");
  picture.fillRect(0, 0, width, height);
  const part = (height - 2 * GAP) / 3, waves = pictures.peaks.map(bytes);
  const highest = waves.reduce((top, peaks) => peaks.reduce((high, peak) => Math.max(high, peak), top), 1);
  waves.forEach((peaks, side) => {
    picture.fillStyle = colour(side ? "--accent" : "--before");
    drawWave(picture, peaks, highest, width, part);
  });
  pictures.levels.forEach((text, side) => {
    const top = (side + 1) * (part + GAP);
    drawSpectrogram(picture, bytes(text), pictures.columns, pictures.bands, top, width, part);
    label(picture, side ? "After" : "Before", top);
  });
  canvas.setAttribute(
    "aria-label",
    `Waves and spectrograms before and after, ${pictures.seconds.toFixed(1)} seconds, up to ${pictures.khz} kHz`,
  );
}

function drawWave(picture, peaks, highest, width, height) {
  const step = width / peaks.length;
  peaks.forEach((peak, k) => {
    const half = Math.max(0.5, peak / highest * height / 2);
    picture.fillRect(k * step, height / 2 - half, Math.max(1, step), 2 * half);
  });
}

function drawSpectrogram(picture, levels, columns, bands, top, width, height) {
  if (!columns) return;
  const image = new ImageData(columns, bands);
  for (let band = 0; band < bands; band++) {
    for (let k = 0; k < columns; k++) {
      const [red, green, blue] = PALETTE[levels[band * columns + k]], at = 4 * ((bands - 1 - band) * columns + k);
      image.data.set([red, green, blue, 255], at);
    }
  }
  const small = new OffscreenCanvas(columns, bands);
  small.getContext("2d").putImageData(image, 0, 0);
  picture.drawImage(small, 0, top, width, height);
}

function label(picture, text, top) {
  picture.font = TEXT;
  picture.fillStyle = "rgba(8, 10, 30, 0.75)";
  picture.fillRect(0, top, picture.measureText(text).width + 12, 20);
  picture.fillStyle = "#ffffff";
  picture.fillText(text, 6, top + 15);
}
