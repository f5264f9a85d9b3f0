"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const MISSING = "not measured";

/* ---- the table of files: sorts by any column, filters by system and text ---- */

const table = { column: "scene", ascending: true };

function formatCell(column, value) {
  if (value === null || value === undefined || value === "") return column.decimals === undefined ? "" : MISSING;
  if (column.decimals === undefined) return String(value);
  const text = value.toFixed(column.decimals).replace(/^-(0\.?0*)$/, "$1"); // no minus before a rounded zero
  return column.name.endsWith("_gain") && value > 0 ? `+${text}` : text;
}

function compareRows(first, second) {
  const a = first[table.column], b = second[table.column];
  if (a === b) return 0;
  if (a === null) return 1; // what was not measured stays at the end
  if (b === null) return -1;
  const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return table.ascending ? order : -order;
}

function drawHead() {
  const line = document.createElement("tr");
  for (const column of data.columns) {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    button.textContent = column.title;
    button.addEventListener("click", () => {
      table.ascending = table.column === column.name ? !table.ascending : column.decimals === undefined;
      table.column = column.name;
      drawFiles();
    });
    cell.dataset.name = column.name;
    if (column.decimals === undefined) cell.className = "text";
    cell.append(button);
    line.append(cell);
  }
  byId("files-table").tHead.replaceChildren(line);
}

function drawFiles() {
  const system = byId("files-system").value;
  const words = byId("files-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = data.rows.filter((row) => {
    if (system && row.system !== system) return false;
    const text = data.columns.filter((c) => c.decimals === undefined).map((c) => row[c.name]).join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  rows.sort(compareRows);
  const body = document.createDocumentFragment();
  for (const row of rows) {
    const line = document.createElement("tr");
    for (const column of data.columns) {
      const cell = document.createElement("td");
      const text = formatCell(column, row[column.name]);
      cell.textContent = text;
      if (column.decimals === undefined) cell.className = "text";
      if (text === MISSING) cell.className = "missing";
      line.append(cell);
    }
    body.append(line);
  }
  byId("files-table").tBodies[0].replaceChildren(body);
  byId("files-count").textContent = `${rows.length} of ${data.rows.length} rows`;
  for (const cell of byId("files-table").querySelectorAll("th")) {
    const order = table.ascending ? "ascending" : "descending";
    cell.setAttribute("aria-sort", cell.dataset.name === table.column ? order : "none");
  }
}

/* ---- the chart: quality against cost, cost on a logarithmic axis ---- */

const SVG = "http://www.w3.org/2000/svg";

function add(parent, name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function formatCost(value) {
  for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= limit) return `${+(value / limit).toPrecision(3)}${unit}`;
  }
  return String(+value.toPrecision(3));
}

/* Steps of 1, 2 or 5 times a power of ten: about seven lines between low and high. */
function linearTicks(low, high) {
  const rough = (high - low) / 7, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9; k++) ticks.push(+(k * step).toPrecision(10));
  return ticks;
}

function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const steps = decades > 3 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const step of steps) {
      const value = step * 10 ** power;
      if (value >= low && value <= high) ticks.push(value);
    }
  }
  return ticks;
}

/* Each name goes to the first place beside its point that covers no other point and no other name. */
function placeNames(points, width) {
  const taken = points.map((p) => ({ from: p.px - 8, to: p.px + 8, top: p.py - 8, bottom: p.py + 8 }));
  const covers = (a, b) => a.from < b.to && b.from < a.to && a.top < b.bottom && b.top < a.bottom;
  const names = [];
  for (const point of points) {
    const length = 6.8 * point.label.length;
    const boxes = [0, -13, 13, -26, 26, -39, 39].flatMap((shift) => [10, -10 - length].map((offset) => {
      const from = point.px + offset, middle = point.py + shift;
      return { from, to: from + length, top: middle - 6, bottom: middle + 6 };
    }));
    const inside = boxes.filter((box) => box.from > 0 && box.to < width);
    const box = inside.find((candidate) => !taken.some((other) => covers(candidate, other))) || boxes[0];
    taken.push(box);
    names.push({ point, x: box.from, y: (box.top + box.bottom) / 2 });
  }
  return names;
}

function drawChart() {
  const chart = byId("chart"), xSelect = byId("chart-x"), ySelect = byId("chart-y");
  const xName = xSelect.value, yName = ySelect.value;
  const known = data.points.filter((p) => p[xName] > 0 && p[yName] !== null);
  const missing = data.points.filter((p) => !known.includes(p)).map((p) => p.label);
  byId("chart-note").textContent = missing.length ? `Not measured on these axes: ${missing.join(", ")}.` : "";
  chart.replaceChildren();
  const width = chart.clientWidth, height = chart.clientHeight;
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (!known.length) {
    add(chart, "text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, MISSING);
    return;
  }
  const margin = { left: 52, right: 18, top: 26, bottom: 46 };
  const costs = known.map((p) => p[xName]), qualities = known.map((p) => p[yName]);
  const xLow = Math.min(...costs) / 1.5, xHigh = Math.max(...costs) * 1.9;
  const spread = Math.max(...qualities) - Math.min(...qualities) || Math.abs(qualities[0]) || 1;
  const yLow = Math.min(...qualities) - 0.1 * spread, yHigh = Math.max(...qualities) + 0.12 * spread;
  const px = (x) => margin.left + Math.log(x / xLow) / Math.log(xHigh / xLow) * (width - margin.left - margin.right);
  const py = (y) => height - margin.bottom - (y - yLow) / (yHigh - yLow) * (height - margin.top - margin.bottom);
  for (const tick of linearTicks(yLow, yHigh)) {
    add(chart, "line", { x1: margin.left, x2: width - margin.right, y1: py(tick), y2: py(tick), class: "grid" });
    add(chart, "text", { x: margin.left - 8, y: py(tick) + 4, "text-anchor": "end" }, String(tick));
  }
  for (const tick of logTicks(xLow, xHigh)) {
    add(chart, "line", { x1: px(tick), x2: px(tick), y1: margin.top, y2: height - margin.bottom, class: "grid" });
    add(chart, "text", { x: px(tick), y: height - margin.bottom + 18, "text-anchor": "middle" }, formatCost(tick));
  }
  const bottom = height - margin.bottom;
  add(chart, "line", { x1: margin.left, x2: width - margin.right, y1: bottom, y2: bottom, class: "axis" });
  const xTitle = `${xSelect.selectedOptions[0].text} (less is better)`;
  add(chart, "text", { x: width - margin.right, y: height - 8, "text-anchor": "end" }, xTitle);
  add(chart, "text", { x: 4, y: 13 }, `${ySelect.selectedOptions[0].text} (more is better)`);
  const points = known.map((p) => ({ ...p, px: px(p[xName]), py: py(p[yName]) }));
  for (const point of points) {
    const parent = points.find((p) => p.label === point.parent);
    if (parent) add(chart, "line", { x1: parent.px, y1: parent.py, x2: point.px, y2: point.py, class: "link" });
  }
  for (const point of points) {
    const circle = add(chart, "circle", { cx: point.px, cy: point.py, r: 6, class: `point ${point.kind}` });
    add(circle, "title", {}, `${point.label}: ${+point[yName].toPrecision(4)} at ${formatCost(point[xName])}`);
  }
  for (const { point, x, y } of placeNames(points, width)) {
    add(chart, "text", { x, y: y + 4, class: "name" }, point.label);
  }
}

/* A cost that nobody has is no choice; the first axis that somebody has is the one shown. */
function pruneAxes() {
  for (const id of ["chart-x", "chart-y"]) {
    for (const option of [...byId(id).options]) {
      const known = data.points.some((p) => p[option.value] !== null && p[option.value] !== undefined);
      if (!known) option.remove();
    }
    byId(id).addEventListener("change", drawChart);
  }
}

for (const system of new Set(data.rows.map((row) => row.system))) byId("files-system").add(new Option(system, system));
byId("files-system").addEventListener("change", drawFiles);
byId("files-filter").addEventListener("input", drawFiles);
pruneAxes();
drawHead();
drawFiles();
drawChart();
new ResizeObserver(drawChart).observe(byId("chart"));
