"use strict";
import { limitSlider } from "/static/limits.js";
import { Player } from "/static/player.js";

const byId = (id) => document.getElementById(id);
const cards = new Map(); // number -> {element, player, state}
const STATES = {
  uploaded: "waits", waiting: "waits", enhancing: "is enhanced", drawing: "is made ready to listen to",
  done: "done", failed: "failed",
};
let visit = "", notify = () => {}, limit = null;

/** Makes the part for files work; `say` takes what is wrong. */
export function startFiles(say) {
  notify = say;
  limit = limitSlider(byId("file-limit"), byId("file-limit-text"));
  const drop = byId("drop");
  byId("chooser").addEventListener("change", (event) => {
    takeAll(event.target.files);
    event.target.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    takeAll(event.dataTransfer.files);
  });
}

/** Takes in which visit this page is, and the models to choose from. */
export function keepVisit(key, models) {
  if (visit !== key) cards.clear();
  visit = key;
  const select = byId("file-model");
  if (!select.options.length) select.replaceChildren(...models.map((name) => new Option(name, name)));
  byId("all").href = `/visits/${visit}/all.zip`;
}

async function takeAll(files) {
  for (const file of [...files]) await take(file); // a copy, as the chooser is emptied meanwhile
}

function wish() {
  return { model: byId("file-model").value, limit_db: limit.read(), channels: byId("file-channels").value };
}

async function take(file) {
  const card = makeCard(file.name);
  card.state("is sent");
  try {
    const item = await send(file, (share) => { card.bar.value = share; });
    cards.set(item.number, card);
    card.number = item.number;
    card.element.dataset.number = item.number;
    await ask(item.number);
  } catch (error) {
    card.state("failed");
    card.bar.hidden = true;
    card.tell([error.message]);
  }
}

function send(file, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how far an upload is
    request.open("PUT", `/visits/${visit}/files?name=${encodeURIComponent(file.name)}`);
    request.upload.addEventListener("progress", (event) => { if (event.total) onProgress(event.loaded / event.total); });
    request.addEventListener("load", () => {
      const answer = read(request.responseText);
      if (request.status === 201) resolve(answer);
      else reject(new Error(answer.error || "quietmic did not take it"));
    });
    request.addEventListener("error", () => reject(new Error("the connection broke off: send the file again")));
    request.send(file);
  });
}

function read(text) {
  try { return JSON.parse(text); } catch { return {}; }
}

async function ask(number) {
  const answer = await fetch(`/visits/${visit}/files/${number}`, { method: "POST", body: JSON.stringify(wish()) });
  if (!answer.ok) throw new Error(read(await answer.text()).error || "quietmic did not take it");
}

function makeCard(name) {
  const element = byId("file-card").content.cloneNode(true).querySelector("li");
  const find = (what) => element.querySelector(what);
  find(".name").textContent = name;
  const card = {
    element, number: null, player: null, bar: find("progress"),
    state: (text) => { find(".state").textContent = text; },
    tell: (lines) => find(".about").replaceChildren(...lines.map((line) => {
      const entry = document.createElement("li");
      entry.textContent = line;
      return entry;
    })),
  };
  element.setAttribute("aria-label", name);
  find(".remove").setAttribute("aria-label", `Remove ${name}`);
  find(".again").setAttribute("aria-label", `Enhance again ${name}`);
  find(".remove").addEventListener("click", () => remove(card));
  find(".again").addEventListener("click", () => ask(card.number).catch((error) => notify(error.message)));
  byId("list").prepend(element);
  return card;
}

function remove(card) {
  if (card.player) card.player.close();
  card.element.remove();
  cards.delete(card.number);
  if (card.number !== null) fetch(`/visits/${visit}/files/${card.number}`, { method: "DELETE" });
  showAll();
}

/** Shows what became of a file. */
export async function showFile(item) {
  let card = cards.get(item.number);
  if (!card) { // after a connection that broke
    card = makeCard(item.name);
    card.number = item.number;
    card.element.dataset.number = item.number;
    cards.set(item.number, card);
  }
  const find = (what) => card.element.querySelector(what);
  const isDone = item.state === "done", isAtRest = isDone || item.state === "failed";
  card.bar.hidden = isAtRest;
  card.bar.value = item.share;
  card.state(STATES[item.state] || item.state);
  card.tell(item.about);
  card.element.dataset.state = item.state;
  find(".again").hidden = !isAtRest;
  const download = find(".download");
  download.hidden = !isDone;
  const place = `/visits/${visit}/files/${item.number}`;
  if (isDone) {
    download.href = `${place}/enhanced`;
    download.download = item.output;
    download.setAttribute("aria-label", `Download ${item.output}`);
    await showPlayer(card, place);
  } else if (card.player) {
    card.player.close();
    card.player = null;
    find(".player").hidden = true;
  }
  showAll();
}

async function showPlayer(card, place) {
  const answer = await fetch(`${place}/pictures`);
  if (!answer.ok) return;
  const pictures = await answer.json();
  if (card.player) card.player.close();
  card.player = new Player(card.element.querySelector(".player"), pictures, `${place}/sound?${Date.now()}`);
  card.element.querySelector(".player").hidden = false;
}

function showAll() {
  byId("all").hidden = [...cards.values()].filter((card) => card.element.dataset.state === "done").length < 2;
}
