// The page of the mock server: what passes, who is connected, what is in the
// tables, and buttons for what may go wrong.

import { $ } from "./dom.js";
import * as frames from "./frames.js";
import * as side from "./side.js";
import * as faults from "./faults.js";

// Panels. On a wide page the frames are always there.
const tabs = [...document.querySelectorAll("[role=tab]")];
const narrow = matchMedia("(max-width: 760px)");

function select(name, focus = false) {
  document.body.dataset.tab = name;
  if (name !== "frames") document.body.dataset.side = name;
  const chosen = narrow.matches ? document.body.dataset.tab : document.body.dataset.side;
  for (const t of tabs) {
    const on = t.dataset.tab === chosen;
    t.setAttribute("aria-selected", on);
    t.tabIndex = on ? 0 : -1;
    if (on && focus) t.focus();
  }
}

for (const t of tabs) t.addEventListener("click", () => select(t.dataset.tab));
$("tabs").addEventListener("keydown", (e) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
  if (!step) return;
  const there = tabs.filter((t) => t.offsetParent !== null);
  const at = there.findIndex((t) => t.getAttribute("aria-selected") === "true");
  select(there[(at + step + there.length) % there.length].dataset.tab, true);
  e.preventDefault();
});
narrow.addEventListener("change", () => select(document.body.dataset.tab));

addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || $("help").open) return;
  if (e.key === "Escape") return frames.escape();
  if (e.defaultPrevented || e.target.closest("input, select, textarea")) return;
  if (e.key === "Enter" && e.target.closest("button, summary")) return;
  const tab = { s: "sockets", t: "tables", f: "faults" }[e.key];
  if (tab) select(tab, true);
  else if (e.key === "?") $("help").showModal();
  else if (!frames.key(e.key)) return;
  e.preventDefault();
});
$("help-open").addEventListener("click", () => $("help").showModal());

function standing(state, text) {
  $("state").dataset.state = state;
  $("state").textContent = text;
}

let server = null; // which one it is that tells

const source = new EventSource("events");
source.onerror = () => standing("away", "the server is gone; trying again");
source.addEventListener("hello", (e) => {
  standing("live", location.host);
  if (server === e.data) return;
  if (server !== null) frames.clear();
  server = e.data;
  faults.load();
});
source.addEventListener("frames", (e) => frames.add(JSON.parse(e.data)));
source.addEventListener("skipped", (e) => frames.skipped(Number(e.data)));
source.addEventListener("state", (e) => {
  const state = JSON.parse(e.data);
  $("url").textContent = state.url;
  frames.offerSockets(state.sockets);
  side.drawSockets(state);
  side.drawTables(state);
  faults.offerTables(state.tables);
});

setInterval(() => {
  const n = frames.rate();
  $("rate").textContent = n ? `${n.toLocaleString("en")}/s` : "";
}, 1000);

frames.start();
faults.start();
select("frames");
