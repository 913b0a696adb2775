// The sockets with their channels and bindings, and the tables with rows.

import { $, ask, element, timeOf } from "./dom.js";
import { show } from "./frames.js";

// bindingText is a binding of postgres_changes in short.
function bindingText(b) {
  const columns = Array.isArray(b.select) ? ` (${b.select.join(", ")})` : "";
  return `${b.event ?? "*"} ${b.schema ?? "public"}.${b.table ?? "*"}${columns}${b.filter ? "  " + b.filter : ""}`;
}

function channelItem(socket, c) {
  const deaf = c.bindings.length > 0 && c.subscriptions === 0;
  const li = element("li", {},
    element("button.link", { type: "button", title: "show its frames", onclick: () => show({ socket: String(socket), topic: c.topic }) }, c.topic.replace(/^realtime:/, "")),
  );
  if (c.private) li.append(" ", element("span.badge", {}, "private"));
  if (deaf) li.append(" ", element("span.badge.bad", { title: "its bindings have no subscription: it hears of no change" }, "deaf"));
  for (const b of c.bindings) li.append(element("code.binding", {}, bindingText(b)));
  return li;
}

function socketCard(s) {
  const head = element("div.head", {},
    element("button.link", { type: "button", title: "show its frames", onclick: () => show({ socket: String(s.socket), topic: "" }) }, `#${s.socket}`),
    element("span.quiet", {}, `${s.role || "no role"} · ${s.version} · since ${timeOf(s.opened).slice(0, 8)}`),
    element("button.danger", { type: "button", onclick: () => ask("DELETE", `sockets/${s.socket}`, undefined, `socket ${s.socket} was killed`) }, "Kill"),
  );
  const card = element("article", {}, head);
  if (s.backlog) card.append(element("p.quiet", {}, `${s.backlog.toLocaleString("en")} bytes wait for it`));
  if (s.channels.length) card.append(element("ul", {}, ...s.channels.map((c) => channelItem(s.socket, c))));
  else card.append(element("p.quiet", {}, "no channels"));
  return card;
}

let drawnSockets = "";

// drawSockets shows the sockets, if they are others.
export function drawSockets(state) {
  $("socket-count").textContent = state.open;
  const text = JSON.stringify(state.sockets) + state.open;
  if (text === drawnSockets) return;
  drawnSockets = text;
  const panel = $("sockets");
  const focused = panel.contains(document.activeElement);
  const at = focused ? [...panel.querySelectorAll("button")].indexOf(document.activeElement) : -1;
  const scrolled = panel.scrollTop;
  panel.replaceChildren(...state.sockets.map(socketCard));
  if (!state.open) panel.append(element("p.quiet.empty", {}, "No socket is open."));
  if (state.open > state.sockets.length) panel.append(element("p.quiet", {}, `and ${state.open - state.sockets.length} more`));
  panel.scrollTop = scrolled;
  if (at >= 0) panel.querySelectorAll("button")[at]?.focus();
}

const pageOfRows = 200; // what the server gives at once
const cards = new Map(); // by table: { card, summary, body, offset }
let open = null; // the name of the table whose rows are shown
let drawnCommits = null;
let asking = false; // rows are on their way
let again = false; // and are to be asked for again

const nameOf = (t) => (t.schema === "public" ? t.name : `${t.schema}.${t.name}`);

// drawTables shows the tables, and the rows of the open one if there were
// commits.
export function drawTables(state) {
  $("table-count").textContent = state.tables.length;
  for (const t of state.tables) drawTable(t);
  if (!state.tables.length) $("tables").replaceChildren(element("p.quiet.empty", {}, "There are no tables."));
  const seen = JSON.stringify([state.commits, state.tables]);
  if (open && seen !== drawnCommits) drawRows();
  drawnCommits = seen;
}

function drawTable(t) {
  const name = nameOf(t);
  let c = cards.get(name);
  if (!c) {
    c = { summary: element("summary"), body: element("div.rows"), offset: 0 };
    c.card = element("details", { "data-table": name, ontoggle: () => toggled(name) }, c.summary, c.body);
    cards.set(name, c);
    $("tables").append(c.card);
  }
  c.table = t;
  const badges = [];
  if (t.rls) badges.push(" ", element("span.badge", { title: "row level security is on" }, "RLS"));
  if (!t.published) badges.push(" ", element("span.badge.bad", { title: "not in the publication: no changes are delivered" }, "unpublished"));
  if (t.replica_identity.toLowerCase() !== "default") badges.push(" ", element("span.badge", { title: "replica identity" }, t.replica_identity.toLowerCase()));
  c.summary.replaceChildren(element("strong", {}, name), ...badges, element("span.count", {}, t.rows < 0 ? "" : t.rows.toLocaleString("en")));
}

function toggled(name) {
  const c = cards.get(name);
  if (!c.card.open) {
    if (open === name) open = null;
    c.body.replaceChildren();
    return;
  }
  for (const [other, o] of cards) if (other !== name) o.card.open = false;
  open = name;
  drawRows();
}

async function drawRows() {
  if (asking) { again = true; return; }
  asking = true;
  const name = open;
  const c = cards.get(name);
  try {
    const answer = await fetch(`rows?table=${encodeURIComponent(name)}&offset=${c.offset}`);
    if (open === name) c.body.replaceChildren(...(answer.ok ? rowsOf(c, await answer.json()) : [element("p.quiet", {}, await answer.text())]));
  } catch { /* the server is gone, which the header says */ }
  asking = false;
  if (again) { again = false; if (open) drawRows(); }
}

function rowsOf(c, answer) {
  const types = new Map(c.table.columns.map((column) => [column.name, column.type]));
  const head = element("tr", {}, ...answer.columns.map((name) =>
    element("th", { scope: "col" }, (c.table.primary_key.includes(name) ? "⚷ " : "") + name, element("small", {}, types.get(name) ?? ""))));
  const body = answer.rows.map((r) => element("tr", {}, ...r.map(cell)));
  const parts = [element("div.scroll", { tabindex: "0", role: "region", "aria-label": `rows of ${nameOf(c.table)}` }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)))];
  if (answer.count > pageOfRows) parts.push(pager(c, answer));
  return parts;
}

function cell(text) {
  if (text === null) return element("td.null", {}, "null");
  const plain = text[0] === '"' ? JSON.parse(text) : text;
  const shown = plain.length > 80 ? plain.slice(0, 80) + "…" : plain;
  return element(text[0] === '"' ? "td" : "td.value", plain.length > 80 ? { title: plain.slice(0, 2000) } : {}, shown);
}

function pager(c, answer) {
  const go = (by) => () => { c.offset = Math.max(0, c.offset + by); drawRows(); };
  const last = Math.min(c.offset + answer.rows.length, answer.count);
  return element("p.pager", {},
    element("button", { type: "button", disabled: c.offset === 0, onclick: go(-pageOfRows) }, "Before"),
    ` ${(c.offset + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${answer.count.toLocaleString("en")} `,
    element("button", { type: "button", disabled: last >= answer.count, onclick: go(pageOfRows) }, "Next"));
}
