// A button for every fault that the server knows, with its parameters.

import { $, ask, element, say } from "./dom.js";

// input makes the field of a parameter.
function input(p) {
  const attributes = { name: p.name, "data-type": p.type, title: p.doc };
  switch (p.type) {
    case "boolean":
      return element("input", { ...attributes, type: "checkbox", checked: p.default });
    case "integer":
      return element("input", { ...attributes, type: "number", step: "1", value: p.default });
    case "duration":
      return element("input", { ...attributes, value: p.default, size: "6" });
    case "object":
      return element("input", { ...attributes, value: p.default === null ? "{}" : JSON.stringify(p.default), size: "14", spellcheck: "false" });
  }
  const offers = { topic: "topics", table: "table-names" }[p.name];
  if (offers) attributes.list = offers;
  return element("input", { ...attributes, value: p.default, size: String(Math.min(Math.max(p.default.length, 10), 34)), autocomplete: "off", spellcheck: "false" });
}

// valueOf reads a field. It throws what is wrong with it.
function valueOf(field) {
  switch (field.dataset.type) {
    case "boolean": return field.checked;
    case "integer": return Math.trunc(Number(field.value));
    case "object":
      try { return JSON.parse(field.value || "{}"); } catch { throw new Error(`${field.name}: that is no JSON`); }
  }
  return field.value;
}

function card(f) {
  const fields = f.params.map(input);
  const inject = async (e) => {
    e.preventDefault();
    try {
      const params = Object.fromEntries(fields.map((field) => [field.name, valueOf(field)]));
      await ask("POST", "faults", { name: f.name, params }, `${f.name}: done`);
    } catch (error) { say(error.message, true); }
  };
  const head = element("div.head", {}, element("button.do", {}, f.name));
  if (f.loss) head.append(element("span.badge.bad", { title: "one of the twelve ways in which Realtime loses changes" }, f.loss));
  if (f.silent) head.append(element("span.badge", { title: "no message tells a client of it" }, "silent"));
  if (f.undo) {
    head.append(element("button", { type: "button", onclick: () => ask("POST", "faults", { name: f.name, params: f.undo }, `${f.name}: undone`) }, "Undo"));
  }
  const form = element("form", { "data-fault": f.name, autocomplete: "off", onsubmit: inject }, head, element("p.quiet", {}, f.doc));
  if (fields.length) {
    form.append(element("div.params", {}, ...fields.map((field, i) => element("label", { title: f.params[i].doc }, element("span", {}, f.params[i].name), field))));
  }
  form.words = `${f.name} ${f.loss ?? ""} ${f.silent ? "silent" : ""} ${f.doc}`.toLowerCase();
  return form;
}

let names = ""; // of the tables that are offered

// offerTables offers the names of tables to the fields for one.
export function offerTables(tables) {
  const now = tables.map((t) => (t.schema === "public" ? t.name : `${t.schema}.${t.name}`));
  if (now.join() === names) return;
  names = now.join();
  $("table-names").replaceChildren(...now.map((value) => element("option", { value })));
}

function find() {
  const words = $("find-fault").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const form of $("fault-list").children) form.hidden = !words.every((w) => form.words.includes(w));
}

// load asks what faults there are.
export async function load() {
  const faults = await ask("GET", "faults");
  if (!faults) return;
  $("fault-list").replaceChildren(...faults.map(card));
  find();
}

export function start() {
  document.body.append(element("datalist", { id: "table-names" }));
  $("find-fault").addEventListener("input", find);
  $("heal").addEventListener("click", () => ask("POST", "heal", undefined, "everything is healed"));
  $("stop").addEventListener("click", () => ask("DELETE", "schedule", undefined, "the schedule was stopped"));
  $("schedule").addEventListener("submit", async (e) => {
    e.preventDefault();
    const form = new FormData(e.target);
    const body = { n: Number(form.get("n")), within: form.get("within"), seed: Number(form.get("seed")) };
    const schedule = await ask("POST", "schedule", body);
    if (schedule) say(`${schedule.length} faults are to come`);
  });
}
