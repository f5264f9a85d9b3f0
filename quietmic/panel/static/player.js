"use strict";
import { drawPictures } from "/static/pictures.js";

const FADE_S = 0.02;
let playing = null, nextName = 0, context = null;

/**
 * Plays before and after as one sound that has both inside: the switch is a fade between its channels, so that there
 * is no gap and no shift, and a long file comes piece by piece.
 */
export class Player {
  constructor(element, pictures, source) {
    this.element = element;
    this.pictures = pictures;
    this.audio = new Audio();
    this.audio.preload = "metadata";
    this.audio.src = source;
    this.stopped = new AbortController();
    const find = (what) => element.querySelector(what), on = { signal: this.stopped.signal };
    this.seek = find(".seek");
    this.seek.max = pictures.seconds;
    this.button = find(".play");
    this.name = element.closest("li").getAttribute("aria-label");
    const name = `heard-${nextName++}`;
    for (const radio of element.querySelectorAll(".switch input")) {
      radio.name = name;
      radio.addEventListener("change", () => this.switch(), on);
    }
    find(".match").addEventListener("change", () => this.switch(), on);
    this.button.addEventListener("click", () => this.toggle(), on);
    this.seek.addEventListener("input", () => { this.audio.currentTime = Number(this.seek.value); this.show(); }, on);
    find(".picture").addEventListener("click", (event) => {
      const box = event.target.getBoundingClientRect();
      this.audio.currentTime = pictures.seconds * (event.clientX - box.left) / box.width;
      this.show();
    }, on);
    for (const event of ["play", "pause", "ended", "timeupdate"]) this.audio.addEventListener(event, () => this.show(), on);
    this.audio.addEventListener("play", () => this.follow(), on);
    const draw = () => drawPictures(find(".picture"), pictures);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, on);
    this.sizes = new ResizeObserver(draw);
    this.sizes.observe(find(".picture"));
    this.show();
  }

  /** Before and after, each with its own gain; made on the first play, as browsers want it. */
  connect() {
    context ??= new AudioContext();
    const source = context.createMediaElementSource(this.audio), n = this.pictures.channels;
    const splitter = context.createChannelSplitter(2 * n), merger = context.createChannelMerger(n);
    source.connect(splitter);
    this.gains = ["before", "after"].map((_, side) => {
      const gain = context.createGain();
      gain.gain.value = this.gain(side);
      const channels = context.createChannelMerger(n);
      for (let k = 0; k < n; k++) splitter.connect(channels, side * n + k, k);
      channels.connect(gain);
      return gain;
    });
    const out = context.createChannelSplitter(n);
    for (const gain of this.gains) gain.connect(out);
    for (let k = 0; k < n; k++) out.connect(merger, k, k);
    merger.connect(context.destination);
  }

  /** Gain of one side, 0 before and 1 after: the louder voice is lowered to the other one, so that nothing clips. */
  gain(side) {
    const heard = this.element.querySelector(".switch input:checked").value === "after" ? 1 : 0;
    if (side !== heard) return 0;
    const matches = this.element.querySelector(".match").checked;
    const raise = matches ? this.pictures.gain_db : 0; // what comes after would have to be raised by this
    return 10 ** (Math.min(0, side === 1 ? raise : -raise) / 20);
  }

  switch() {
    if (!this.gains) return;
    const now = context.currentTime;
    this.gains.forEach((node, side) => {
      node.gain.cancelScheduledValues(now);
      node.gain.setValueAtTime(node.gain.value, now);
      node.gain.linearRampToValueAtTime(this.gain(side), now + FADE_S);
    });
  }

  async toggle() {
    if (!this.audio.paused) { this.audio.pause(); return; }
    if (!this.gains) this.connect();
    await context.resume();
    if (playing && playing !== this) playing.audio.pause();
    playing = this;
    await this.audio.play();
  }

  follow() {
    if (this.audio.paused || this.stopped.signal.aborted) return;
    this.show();
    requestAnimationFrame(() => this.follow());
  }

  show() {
    const at = this.audio.currentTime, seconds = this.pictures.seconds;
    this.button.textContent = this.audio.paused ? "Play" : "Pause";
    this.button.setAttribute("aria-label", `${this.button.textContent} ${this.name}`);
    this.seek.value = at;
    this.seek.setAttribute("aria-valuetext", `${at.toFixed(0)} of ${seconds.toFixed(0)} seconds`);
    this.element.querySelector(".cursor").style.left = `${100 * Math.min(1, at / seconds)}%`;
    this.element.querySelector(".time").textContent = `${clock(at)} / ${clock(seconds)}`;
  }

  close() {
    this.stopped.abort();
    this.sizes.disconnect();
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
  }
}

function clock(seconds) {
  const whole = Math.floor(seconds), pad = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}
