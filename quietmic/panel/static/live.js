"use strict";
import { limitSlider } from "/static/limits.js";
import { bytes, PALETTE } from "/static/pictures.js";

const byId = (id) => document.getElementById(id);
const LOWEST_DB = -60, DEAD_DB = 30, DEAD_MS = 2000, STEP = 2;
const TEXTS = { input: "In", output: "Out" };
let order = () => {}, limit = null, state = "off", devices = null, wish = {}, arrays = {};
const heardAt = new Map(); // when a microphone was last as loud as the others
let held = 0; // until when the slider is the person's, milliseconds

/** Makes the live part work; `send` takes orders. */
export function startLive(send) {
  order = send;
  limit = limitSlider(byId("live-limit"), byId("live-limit-text"), (limitDb) => {
    held = Date.now() + 1000;
    if (state === "on") steer("limit", limitDb === null ? "none" : String(limitDb));
  });
  byId("start").addEventListener("click", () => (state === "off" ? start() : order({ do: "stop" })));
  byId("look").addEventListener("click", () => order({ do: "devices" }));
  for (const name of ["bypass", "mute", "record"]) {
    const button = byId(name);
    button.addEventListener("click", () => steer(name, button.getAttribute("aria-pressed") === "true" ? "off" : "on"));
  }
  byId("input").addEventListener("change", () => showMicrophones());
  for (const id of ["input", "output", "mics", "live-model"]) {
    byId(id).addEventListener("change", () => { if (state === "on") start(); });
  }
  for (const side of ["input", "output"]) fillMeter(byId(`${side}-meter`), TEXTS[side]);
}

function steer(...words) {
  order({ do: "steer", words });
}

function start() {
  const output = byId("output").value, mics = JSON.parse(byId("mics").value || "{}");
  order({
    do: "start", input: byId("input").value || null, output: output.startsWith("*") ? null : output || null,
    virtual_microphone: output === "*", model: byId("live-model").value || null, limit_db: limit.read(), ...mics,
  });
}

/** Takes in what the panel tells of the live part. */
export function hearLive(message) {
  if (message.arrays !== undefined) arrays = message.arrays;
  if (message.models !== undefined && !byId("live-model").options.length) showModels(message.models);
  if (message.wish !== undefined) wish = message.wish;
  if (message.devices) devices = message.devices;
  if (message.devices || message.wish !== undefined) showDevices();
  if (message.live !== undefined) showState(message.live);
  if (message.meters !== undefined) showMeters(message.meters);
}

function showModels(models) {
  const options = models.map((name) => new Option(name, name));
  byId("live-model").replaceChildren(new Option("what this machine bears", ""), ...options);
}

function showDevices() {
  if (!devices) return;
  fill(byId("input"), [["", "the default"], ...devices.inputs.map((each) => [each.value, each.label])], wish.input_name);
  const outputs = devices.outputs.map((each) => [each.value, each.label]);
  const virtual = devices.virtual ? [["*", "none: be the microphone “quietmic”"]] : [];
  fill(byId("output"), [["", "the default"], ...virtual, ...outputs], wish.virtual_microphone ? "*" : wish.output_name);
  const models = [...byId("live-model").options].map((option) => [option.value, option.text]);
  fill(byId("live-model"), models, wish.model);
  if (state !== "on") limit.set(wish.limit_db);
  byId("no-devices").textContent = devices.about;
  byId("no-devices").hidden = !devices.about;
  showMicrophones(JSON.stringify(choice(wish.channels, wish.array)));
}

function fill(select, entries, chosen) {
  const kept = chosen ?? "";
  if (kept && !entries.some(([value]) => value === kept)) entries.push([kept, kept]);
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  select.value = kept;
}

function choice(channels, array) {
  if (array) return { array };
  return channels && channels.length > 1 ? { channels } : {};
}

function showMicrophones(chosen = byId("mics").value) {
  const device = devices && devices.inputs.find((each) => each.value === byId("input").value);
  const n = Math.min(8, device ? device.n_inputs : 1), entries = [["{}", "the first channel"]];
  for (let k = 2; k <= n; k++) entries.push([JSON.stringify(choice([...Array(k).keys()])), `the first ${k} channels`]);
  for (const [name, text] of Object.entries(arrays)) entries.push([JSON.stringify({ array: name }), text]);
  if (!entries.some(([value]) => value === chosen)) chosen = "{}";
  fill(byId("mics"), entries, chosen);
}

function showState(live) {
  state = live.state;
  const isOn = state === "on";
  byId("start").textContent = state === "off" ? "Start" : "Stop";
  byId("start").disabled = state === "starting";
  for (const name of ["bypass", "mute", "record"]) {
    byId(name).disabled = !isOn;
    if (!isOn) byId(name).setAttribute("aria-pressed", "false");
  }
  byId("state").textContent = { off: live.about || "off", starting: "begins", on: "" }[state];
  if (!isOn) showFigures([]);
  byId("recordings").replaceChildren(...live.recordings.map((name) => {
    const entry = document.createElement("li"), link = document.createElement("a");
    link.href = `/recordings/${encodeURIComponent(name)}`;
    link.download = link.textContent = name;
    entry.append(link);
    return entry;
  }));
}

function showMeters(meters) {
  if (state !== "on") return;
  put(byId("state"), meters.state);
  showLevel(byId("input-meter"), meters.input_db);
  showLevel(byId("output-meter"), meters.output_db);
  showEach(meters.microphones_db);
  for (const name of ["bypass", "mute"]) byId(name).setAttribute("aria-pressed", String(meters[name]));
  byId("record").setAttribute("aria-pressed", String(meters.recording));
  if (Date.now() > held) limit.set(meters.limit_db);
  draw(meters.columns.map(bytes));
  showFigures([
    ["Model", `${meters.model}${meters.n_mics > 1 ? `, ${meters.n_mics} microphones` : ""}`],
    ["Noise reduction", `${meters.noise_reduction_db.toFixed(1)} dB`],
    ["Latency", `${meters.latency_ms.toFixed(0)} ms`],
    ["Load", `${(100 * meters.rtf).toFixed(0)} %, 99 of 100 below ${(100 * meters.rtf_p99).toFixed(0)} %`],
    ["Gaps", `${meters.gaps}, ${meters.lost_s.toFixed(1)} s lost`],
    ["Way", `${meters.input} → ${meters.output}`],
  ]);
  const list = byId("messages"), messages = meters.messages.reverse();
  while (list.children.length < messages.length) list.append(document.createElement("li"));
  while (list.children.length > messages.length) list.lastChild.remove();
  messages.forEach((text, k) => put(list.children[k], text));
}

/** Only what has changed is written: a screen reader would say it anew, and a phone has better to do. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function fillMeter(meter, text) {
  for (const name of ["text", "track", "value"]) {
    const part = document.createElement("span");
    part.className = name;
    meter.append(part);
  }
  const bar = document.createElement("div");
  bar.className = "bar";
  meter.querySelector(".track").append(bar);
  meter.querySelector(".text").textContent = text;
}

function showLevel(meter, level) {
  const bar = meter.querySelector(".bar"), part = Math.min(1, Math.max(0, 1 - level / LOWEST_DB));
  bar.style.transform = `scaleX(${part})`;
  bar.className = `bar ${level > -3 ? "clipped" : level > -12 ? "loud" : ""}`;
  put(meter.querySelector(".value"), `${level.toFixed(0)} dB`);
  meter.setAttribute("aria-valuenow", level.toFixed(0));
  meter.setAttribute("aria-valuetext", `${level.toFixed(0)} dB`);
}

/** A meter for each microphone of an array; one that stays far below the others is told. */
function showEach(levels) {
  const place = byId("mic-meters"), n = levels.length > 1 ? levels.length : 0;
  while (place.children.length > n) place.lastChild.remove();
  while (place.children.length < n) {
    const meter = document.createElement("div");
    meter.className = "meter";
    meter.setAttribute("role", "meter");
    meter.setAttribute("aria-valuemin", "-100");
    meter.setAttribute("aria-valuemax", "0");
    fillMeter(meter, "");
    place.append(meter);
    heardAt.set(place.children.length - 1, Date.now());
  }
  const loudest = Math.max(...levels);
  levels.slice(0, n).forEach((level, k) => {
    if (level > loudest - DEAD_DB) heardAt.set(k, Date.now());
    const isDead = Date.now() - heardAt.get(k) > DEAD_MS, meter = place.children[k];
    const text = `Mic ${k + 1}${isDead ? ": dead?" : ""}`;
    meter.classList.toggle("dead", isDead);
    meter.setAttribute("aria-label", text);
    put(meter.querySelector(".text"), text);
    showLevel(meter, level);
  });
}

function showFigures(rows) {
  const list = byId("figures");
  if (list.children.length !== 2 * rows.length) {
    list.replaceChildren(...rows.flatMap(() => [document.createElement("dt"), document.createElement("dd")]));
  }
  rows.flat().forEach((text, k) => put(list.children[k], text));
}

function draw(columns) {
  const canvas = byId("running"), picture = canvas.getContext("2d", { willReadFrequently: true });
  const { width, height } = canvas, half = height / 2;
  picture.drawImage(canvas, -STEP, 0);
  columns.forEach((levels, side) => {
    const band = (half - 4) / levels.length;
    levels.forEach((level, k) => {
      picture.fillStyle = `rgb(${PALETTE[level].join()})`;
      picture.fillRect(width - STEP, Math.floor(side * half + (levels.length - 1 - k) * band), STEP, Math.ceil(band));
    });
  });
}
