"use strict";
import { keepVisit, showFile, startFiles } from "/static/files.js";
import { hearLive, startLive } from "/static/live.js";

const byId = (id) => document.getElementById(id);
const FIRST_PAUSE_MS = 500, LAST_PAUSE_MS = 8000;
let visit = "", pause = FIRST_PAUSE_MS, socket = null;

/** Says what is wrong, or no longer. */
function notify(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

/** Sends an order for the live part. */
function order(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function hear(message) {
  if (message.visit !== undefined) {
    if (visit && message.visit !== visit) document.querySelectorAll("#list > li").forEach((card) => card.remove());
    visit = message.visit;
    pause = FIRST_PAUSE_MS;
    notify("");
    keepVisit(visit, message.models);
  }
  hearLive(message);
  if (message.file !== undefined) showFile(message.file);
  if (message.error !== undefined) notify(message.error);
}

function connect() {
  socket = new WebSocket(`ws://${location.host}/socket?visit=${encodeURIComponent(visit)}`);
  socket.addEventListener("message", (event) => hear(JSON.parse(event.data)));
  socket.addEventListener("close", (event) => {
    if (event.code === 1013) return; // as many pages as there may be: the notice stays
    notify("The connection to quietmic is lost: trying again.");
    setTimeout(connect, pause);
    pause = Math.min(2 * pause, LAST_PAUSE_MS);
  });
}

const tabs = [...document.querySelectorAll('[role="tab"]')];

function choose(tab) {
  for (const each of tabs) {
    const isChosen = each === tab;
    each.setAttribute("aria-selected", String(isChosen));
    each.tabIndex = isChosen ? 0 : -1;
    byId(each.getAttribute("aria-controls")).hidden = !isChosen;
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    const other = tabs[(tabs.indexOf(tab) + 1) % tabs.length];
    choose(other);
    other.focus();
  });
}

startFiles(notify);
startLive(order);
if (location.hash === "#live") choose(byId("live-tab"));
connect();
