"use strict";
const LIMITS_DB = [6, 9, 12, 15, 18, 24, 30, 36, null];

/** Makes a slider one of attenuation limits, with its value in words; gives a function that reads it in dB. */
export function limitSlider(slider, text, changed = () => {}) {
  const read = () => LIMITS_DB[Number(slider.value)];
  const show = () => {
    text.textContent = words(read());
    slider.setAttribute("aria-valuetext", words(read()));
  };
  slider.max = LIMITS_DB.length - 1;
  slider.addEventListener("input", () => { show(); changed(read()); });
  show();
  const set = (limit) => {
    const places = LIMITS_DB.map((each, place) => [Math.abs((each ?? 99) - (limit ?? 99)), place]);
    slider.value = places.sort((a, b) => a[0] - b[0])[0][1];
    show();
  };
  return { read, set };
}

function words(limit) {
  return limit === null ? "all it can" : `${limit} dB at most`;
}
