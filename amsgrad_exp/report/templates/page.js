"use strict";
const { plots, tables } = JSON.parse(document.getElementById("data").textContent);
const views = {};

// Plots: as many panels side by side as fit.
const narrowest = 420, beside = 76;

async function draw(box) {
  const { specification, columns } = plots[box.dataset.plot];
  const chart = structuredClone(specification);
  const fit = Math.max(1, Math.min(columns, Math.floor(box.clientWidth / narrowest)));
  chart.datasets = { ...chart.datasets, ...tables };
  chart.columns = fit;
  for (const panel of chart.concat) panel.width = Math.floor(box.clientWidth / fit) - beside;
  const shown = views[box.dataset.plot]?.view;
  for (const parameter of (shown && chart.params) ?? []) if (parameter.bind?.input) parameter.value = shown.signal(parameter.name);
  chart.description = document.getElementById(box.getAttribute("aria-describedby")).textContent;
  views[box.dataset.plot]?.finalize();
  box.closest("figure").querySelectorAll(".vega-bind").forEach((control) => control.remove());
  views[box.dataset.plot] = await vegaEmbed(box, chart, { renderer: "svg", actions: false });
  const sliders = chart.params?.find(({ name }) => name === "zoom_low")?.bind;
  if (sliders) slideAlong(views[box.dataset.plot].view, sliders);
  box.dispatchEvent(new CustomEvent("drawn", { detail: views[box.dataset.plot].view }));
}

// Dragging, or zooming with the wheel, moves the sliders, and the sliders move the axes.
function slideAlong(view, { min, max }) {
  view.addSignalListener("zoom_at", (name, ends) => {
    if (!ends) return;
    const [low, high] = view.signal("log_axis") ? ends.map(Math.log10) : ends;
    const span = Math.min(high - low, max - min), from = Math.min(Math.max(low, min), max - span);
    const [start, end] = [from, from + span].map((slid) => Number(slid.toPrecision(4)));
    view.signal("zoom_at", null).signal("zoom_low", start).signal("zoom_high", end).runAsync();
  });
}

function keepDrawn(box) {
  let width = 0, pending = 0;
  new ResizeObserver(() => {
    if ([0, width].includes(box.clientWidth) || matchMedia("print").matches) return;
    width = box.clientWidth;
    clearTimeout(pending);
    pending = setTimeout(() => box.isConnected && draw(box), views[box.dataset.plot] ? 150 : 0);
  }).observe(box);
}
document.querySelectorAll("[data-plot]").forEach(keepDrawn);

// Tables: download, sort, filter.
document.addEventListener("click", ({ target }) => {
  const name = target.closest("[data-csv]")?.dataset.csv;
  if (!name) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([tables[name]], { type: "text/csv" }));
  link.download = `${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

function valueOf(row, column) {
  const cell = row.cells[column];
  return cell.querySelector("data")?.value ?? cell.textContent.trim();
}

function order(a, b) {
  const numbers = [Number(a), Number(b)];
  return numbers.some(Number.isNaN) ? String(a).localeCompare(b) : numbers[0] - numbers[1];
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      table.querySelectorAll("[aria-expanded=true]").forEach((open) => open.click());
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (down ? -1 : 1) * order(valueOf(a, column), valueOf(b, column)));
      table.tBodies[0].append(...rows);
    });
  });
}

for (const field of document.querySelectorAll("[data-filter]")) {
  const table = document.getElementById(field.dataset.filter), rows = table.tBodies[0].rows;
  const count = document.querySelector(`[data-count="${field.dataset.filter}"]`);
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    table.querySelectorAll("[aria-expanded=true]").forEach((open) => open.click());
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    count.textContent = `${[...rows].filter((row) => !row.hidden).length} of ${rows.length}`;
  });
}

// The rows of a CSV by their columns' names, as text.
function records(csv) {
  const lines = [[]];
  for (const [, field, end] of csv.matchAll(/("(?:[^"]|"")*"|[^,\n]*)(,|\n|$)/g)) {
    lines.at(-1).push(field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field);
    if (end === "\n") lines.push([]);
  }
  const names = lines.shift();
  lines.pop();
  return lines.map((line) => Object.fromEntries(names.map((name, column) => [name, line[column]])));
}

// The entries of a list of facts.
function facts(row) {
  return Object.entries(row).map(([name, value]) => {
    const entry = document.createElement("div"), term = document.createElement("dt"), fact = document.createElement("dd");
    [term.textContent, fact.textContent, fact.dataset.field] = [name, value || "—", name];
    entry.append(term, fact);
    return entry;
  });
}

// One cell of a sweep: its result, and the command that runs it.
const chooser = document.getElementById("cell");
if (chooser) {
  const commands = JSON.parse(chooser.dataset.commands), options = JSON.parse(chooser.dataset.options);
  const rows = records(tables.cells);
  const axes = Object.keys(options);
  const same = (row, values) => axes.every((name) => Number(row[name]) === Number(values.get(name)));

  const show = () => {
    const values = new FormData(chooser);
    const optimizer = values.get("optimizer");
    const row = rows.find((row) => row.optimizer === optimizer && same(row, values)) ?? { "": "this cell is not done" };
    document.getElementById("cell-facts").replaceChildren(...facts(row));
    const settings = axes.map((name) => options[name] + values.get(name));
    document.getElementById("cell-command").textContent = [commands[optimizer], ...settings].join(" ");
  };
  chooser.addEventListener("change", show);
  show();

  document.querySelector("[data-plot]")?.addEventListener("drawn", ({ detail: view }) => {
    view.addEventListener("click", (event, item) => {
      if (item?.datum?.cell === undefined) return;
      const chosen = rows.find((row) => Number(row.cell) === Number(item.datum.cell));
      for (const field of chooser.elements) {
        const option = [...field.options].find(({ value }) => value === chosen[field.name] || Number(value) === Number(chosen[field.name]));
        option.selected = true;
      }
      show();
    });
  });
}

// One cell of a gauntlet, unfolded below its row: its result and its curve.
const unfolding = document.getElementById("unfolded");
if (unfolding) {
  const cells = new Map(records(tables.cells).map((row) => [row.cell, row]));
  const curves = JSON.parse(document.getElementById("curves").textContent);
  const doubles = (packed) => [...new Float64Array(Uint8Array.from(atob(packed), (byte) => byte.charCodeAt(0)).buffer)];
  const rounded = (value) => (value === "" ? "no finite number" : String(Number(value.toPrecision(4))));

  // The finite points of a cell.
  const pointsOf = (cell) => {
    const [steps, ...packed] = curves.cells[cell] ?? [];
    const [x, regret] = packed.map((column) => doubles(column).map((value) => (Number.isFinite(value) ? value : "")));
    return curves.steps[steps]?.map((step, row) => ({ step, x: x[row], regret: regret[row] })) ?? [];
  };

  const drawCurve = (box, points, { optimum, limit_regret }) => {
    const regrets = points.map(({ regret }) => regret).filter((regret) => regret !== "");
    const log = Math.min(...regrets) > 0 && Math.max(...regrets) > 10 * Math.min(...regrets);
    const limited = limit_regret !== "" && (!log || Number(limit_regret) > 0);
    const rows = points.map((point) => Object.values({ ...point, optimum, limit_regret }));
    tables.points = [["step", "x", "regret", "optimum", "limit_regret"], ...rows, ""].join("\n");
    const ends = [points[0], points.at(-1)].map(({ step, x, regret }) =>
      `R(t)/t = ${rounded(regret)} and x = ${rounded(x)} at t = ${(step + 1).toLocaleString("en")}`);
    document.getElementById("points-alternative").textContent =
      `Two panels against step t on a logarithmic axis: average regret, and iterate. They go from ${ends.join(" to ")}. ` +
      `Thin dashes are ${limited ? "the exact limit of R(t)/t, and " : ""}x* = ${Number(optimum)}.`;
    box.dataset.plot = `points${log ? "-log" : ""}${limited ? "-limit" : ""}`;
    keepDrawn(box);
  };

  for (const button of document.querySelectorAll("[data-cell]")) {
    button.addEventListener("click", () => {
      const closing = button.getAttribute("aria-expanded") === "true";
      document.querySelector("[data-cell][aria-expanded=true]")?.setAttribute("aria-expanded", "false");
      document.querySelector("tr.unfolded")?.remove();
      if (closing) return;
      const { command, ...known } = cells.get(button.dataset.cell), points = pointsOf(button.dataset.cell);
      const row = button.closest("tr"), unfolded = document.createElement("tr"), box = document.createElement("div");
      box.append(unfolding.content.cloneNode(true));
      box.querySelector("dl").append(...facts(known));
      box.querySelector("pre").textContent = command;
      const cell = unfolded.insertCell();
      [unfolded.className, cell.colSpan] = ["unfolded", row.cells.length];
      cell.append(box);
      row.after(unfolded);
      button.setAttribute("aria-expanded", "true");
      if (points.length) {
        for (const { step, x, regret } of points) {
          const line = box.querySelector("tbody").insertRow();
          for (const value of [step + 1, x, regret]) [line.insertCell().textContent, line.lastChild.className] = [value, "number"];
        }
        drawCurve(box.querySelector("[data-plot]"), points, known);
      } else {
        box.querySelectorAll("figure, details").forEach((absent) => absent.remove());
      }
    });
  }
}
