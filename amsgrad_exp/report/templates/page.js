"use strict";
const { plots, tables } = JSON.parse(document.getElementById("data").textContent);
const views = {};

// Plots: as many panels side by side as there is room for, each as wide as that leaves it.
const narrowest = 420, beside = 76;

async function draw(box) {
  const { specification, columns } = plots[box.dataset.plot];
  const chart = structuredClone(specification);
  const fit = Math.max(1, Math.min(columns, Math.floor(box.clientWidth / narrowest)));
  chart.datasets = { ...chart.datasets, ...tables };
  chart.columns = fit;
  for (const panel of chart.concat) panel.width = Math.floor(box.clientWidth / fit) - beside;
  chart.description = document.getElementById(box.getAttribute("aria-describedby")).textContent;
  views[box.dataset.plot]?.finalize();
  document.querySelectorAll(`#${box.dataset.plot} .vega-bind`).forEach((control) => control.remove());
  views[box.dataset.plot] = await vegaEmbed(box, chart, { renderer: "svg", actions: false });
  box.dispatchEvent(new CustomEvent("drawn", { detail: views[box.dataset.plot].view }));
}

for (const box of document.querySelectorAll("[data-plot]")) {
  let width = 0, pending = 0;
  new ResizeObserver(() => {
    if (box.clientWidth === width || matchMedia("print").matches) return;
    width = box.clientWidth;
    clearTimeout(pending);
    pending = setTimeout(() => draw(box), views[box.dataset.plot] ? 150 : 0);
  }).observe(box);
}

// Tables: download, sort, filter.
for (const button of document.querySelectorAll("[data-csv]")) {
  button.addEventListener("click", () => {
    const name = button.dataset.csv;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([tables[name]], { type: "text/csv" }));
    link.download = `${name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

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

// One cell of a sweep: what it came to, and the command that runs it.
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

// One cell of a gauntlet, unfolded below its row.
const cells = document.querySelector("[data-cell]") && new Map(records(tables.cells).map((row) => [row.cell, row]));
for (const button of document.querySelectorAll("[data-cell]")) {
  button.addEventListener("click", () => {
    const row = button.closest("tr"), table = button.closest("table");
    const closing = button.getAttribute("aria-expanded") === "true";
    table.querySelectorAll("[aria-expanded=true]").forEach((open) => open.setAttribute("aria-expanded", "false"));
    table.querySelectorAll(".unfolded").forEach((open) => open.remove());
    if (closing) return;
    const { command, ...known } = cells.get(button.dataset.cell);
    const unfolded = document.createElement("tr"), cell = unfolded.insertCell(), box = document.createElement("div");
    const list = document.createElement("dl"), code = document.createElement("pre");
    [unfolded.className, list.className, cell.colSpan] = ["unfolded", "facts", row.cells.length];
    list.append(...facts(known));
    code.textContent = command || "No options of run say this cell's settings.";
    box.style.width = `${table.parentElement.clientWidth}px`;
    box.append(list, code);
    cell.append(box);
    row.after(unfolded);
    button.setAttribute("aria-expanded", "true");
  });
}
