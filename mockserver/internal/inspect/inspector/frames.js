// The list of frames: kept in a ring, shown as far as the filter lets through.

import { $, element, formatted, timeOf } from "./dom.js";

const maxKept = 3000; // frames
const maxKeptText = 8_000_000; // characters of them
const maxShown = 500; // rows in the page

const list = $("frames");
const filter = { text: $("text"), socket: $("socket"), topic: $("topic"), event: $("event"), beats: $("beats") };

let kept = []; // frames, oldest first
let keptText = 0;
let waiting = []; // frames that came while paused, or since the last drawing
let paused = false;
let drawing = 0; // the request for a drawing
let unseen = 0; // rows below what is in sight
let matches = () => true;
let shownCount = 0;
let matchCount = 0;
const topics = new Set();
const events = new Set();
const arrivals = []; // times of frames in the last second

// Arrows are as the client sees them.
const directions = {
  in: ["↑", "from the client"],
  out: ["↓", "to the client"],
  note: ["•", "a note of the server"],
};

const isBeat = (f) => f.topic === "phoenix" || f.event === "heartbeat";

// makeMatcher reads the filter.
function makeMatcher() {
  const words = filter.text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = words.filter((w) => w[0] !== "-" || w === "-");
  const unwanted = words.filter((w) => w[0] === "-" && w !== "-").map((w) => w.slice(1));
  const socket = Number(filter.socket.value);
  const topic = filter.topic.value.trim().toLowerCase();
  const event = filter.event.value;
  const beats = filter.beats.checked;
  return (f) => {
    if (!beats && isBeat(f)) return false;
    if (socket && f.socket !== socket) return false;
    if (event && f.event !== event) return false;
    if (topic && !(f.topic ?? "").toLowerCase().includes(topic)) return false;
    if (!words.length) return true;
    f.all ??= `${f.topic ?? ""} ${f.event} ${f.user_event ?? ""} ${f.text}`.toLowerCase();
    return wanted.every((w) => f.all.includes(w)) && !unwanted.some((w) => f.all.includes(w));
  };
}

// Severity, by which rows are coloured.
function kindOf(f) {
  if (f.event === "fault" || f.event === "phx_error" || f.event === "unreadable") return "bad";
  if (f.event === "refused" || f.event === "ended" || f.event === "closing" || f.event === "phx_close") return "bad";
  if (f.event === "system") return /"status":\s*"error"/.test(f.text) ? "bad" : "notice";
  if (f.event === "phx_reply" && /"status":\s*"error"/.test(f.text)) return "bad";
  if (f.event === "postgres_changes") return "change";
  return "";
}

function row(f) {
  const [arrow, meaning] = directions[f.dir];
  const li = element("li", { tabindex: "-1", "data-n": f.n, class: `${f.dir} ${kindOf(f)}` },
    element("span.at", {}, timeOf(f.at)),
    element("span.dir", { title: meaning, "aria-label": meaning, role: "img" }, arrow),
    element("span.socket", {}, f.socket ? `#${f.socket}` : ""),
    element("span.event", {}, f.event + (f.user_event ? ` ${f.user_event}` : "")),
    element("span.topic", { title: f.topic ?? "" }, (f.topic ?? "").replace(/^realtime:/, "")),
    element("span.text", {}, f.summary || f.text.slice(0, 400)),
  );
  li.frame = f;
  return li;
}

// details shows a frame as a whole.
function details(f) {
  const facts = [];
  if (f.topic) facts.push(f.topic);
  if (f.join_ref) facts.push(`join_ref ${f.join_ref}`);
  if (f.ref) facts.push(`ref ${f.ref}`);
  if (f.meta) facts.push(`metadata ${f.meta}`);
  facts.push(`${f.size.toLocaleString("en")} bytes${f.binary ? ", binary" : ""}`);
  const pre = element("pre", {}, formatted(f.text));
  const box = element("div.details", {}, element("p", {}, facts.join("  ·  ")), pre);
  if (f.cut) {
    box.append(element("button", { type: "button", onclick: async (e) => {
      e.stopPropagation();
      const answer = await fetch(`frames/${f.n}`);
      pre.replaceChildren(formatted(await answer.text()));
      if (answer.ok) e.target.remove();
    } }, "Show all of it"));
  }
  return box;
}

function toggle(li) {
  const open = li.querySelector(".details");
  if (open) open.remove();
  else li.append(details(li.frame));
  li.toggleAttribute("data-open", !open);
}

const atEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 40;

// draw takes in what is waiting.
function draw() {
  drawing = 0;
  if (paused) {
    tell();
    return;
  }
  const follow = atEnd();
  for (const f of waiting) {
    kept.push(f);
    keptText += f.text.length;
    learn(f);
  }
  const through = waiting.filter(matches);
  waiting = [];
  let gone = 0;
  for (; kept.length - gone > maxKept || keptText > maxKeptText; gone++) keptText -= kept[gone].text.length;
  kept.splice(0, gone);
  matchCount += through.length;
  const rows = through.slice(-maxShown).map(row);
  for (let surplus = shownCount + rows.length - maxShown; surplus > 0; surplus--, shownCount--) list.firstElementChild.remove();
  list.append(...rows);
  shownCount += rows.length;
  if (follow) list.scrollTop = list.scrollHeight;
  else unseen += through.length;
  tell();
}

// learn offers a frame's topic and event to the filter.
function learn(f) {
  if (f.topic && topics.size < 500 && !topics.has(f.topic)) {
    topics.add(f.topic);
    $("topics").append(element("option", { value: f.topic }));
  }
  if (!events.has(f.event) && events.size < 200) {
    events.add(f.event);
    const chosen = filter.event.value;
    const options = [...events].sort().map((name) => element("option", { value: name }, name));
    filter.event.replaceChildren(element("option", { value: "" }, "any event"), ...options);
    filter.event.value = chosen;
  }
}

// tell says what is not in sight.
function tell() {
  $("nothing").hidden = kept.length + waiting.length > 0;
  const older = $("older");
  const hidden = matchCount - shownCount;
  older.hidden = hidden <= 0;
  older.textContent = `${hidden.toLocaleString("en")} older not shown`;
  const newest = $("newest");
  if (atEnd()) unseen = 0;
  const more = unseen + (paused ? waiting.length : 0);
  newest.hidden = more === 0;
  newest.textContent = paused ? `${more.toLocaleString("en")} held back: go on` : `${more.toLocaleString("en")} new below`;
}

// redraw shows anew what the filter lets through.
export function redraw() {
  matches = makeMatcher();
  const through = kept.filter(matches);
  matchCount = through.length;
  const shown = through.slice(-maxShown);
  shownCount = shown.length;
  list.replaceChildren(...shown.map(row));
  list.scrollTop = list.scrollHeight;
  unseen = 0;
  remember();
  tell();
}

// remember puts the filter into the address, so that a reload keeps it.
function remember() {
  const set = new URLSearchParams();
  for (const [name, input] of Object.entries(filter)) {
    const value = input.type === "checkbox" ? (input.checked ? "1" : "") : input.value;
    if (value) set.set(name, value);
  }
  history.replaceState(null, "", set.size ? "#" + set : location.pathname);
}

function recall() {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    const input = filter[name];
    if (!input) continue;
    if (input.type === "checkbox") input.checked = true;
    else {
      if (input.tagName === "SELECT") input.append(element("option", { value }, name === "socket" ? `socket ${value}` : value));
      input.value = value;
    }
  }
}

// show sets a part of the filter.
export function show(part) {
  for (const [name, input] of Object.entries(filter)) {
    if (name in part) input.value = part[name];
  }
  redraw();
  if ($("tab-frames").offsetParent) $("tab-frames").click(); // on a phone
}

// add takes frames in.
export function add(frames) {
  const now = performance.now();
  for (const f of frames) arrivals.push(now);
  waiting.push(...frames);
  if (waiting.length > maxKept) waiting = waiting.slice(-maxKept);
  if (!drawing) drawing = setTimeout(draw, document.hidden ? 1000 : 0);
}

// skipped notes frames that were not told.
export function skipped(n) {
  add([{ n: 0, at: "", dir: "note", event: "skipped", size: 0, text: `${n.toLocaleString("en")} frames came faster than they could be shown` }]);
}

// rate returns how many frames came in the last second.
export function rate() {
  const since = performance.now() - 1000;
  let old = 0;
  while (old < arrivals.length && arrivals[old] < since) old++;
  arrivals.splice(0, old);
  return arrivals.length;
}

export function clear() {
  kept = [];
  keptText = 0;
  waiting = [];
  redraw();
}

// offerSockets puts the open sockets into the filter.
export function offerSockets(sockets) {
  const chosen = filter.socket.value;
  const names = new Set(sockets.map((s) => String(s.socket)));
  if (chosen) names.add(chosen);
  filter.socket.replaceChildren(element("option", { value: "" }, "every socket"),
    ...[...names].map((n) => element("option", { value: n }, `socket ${n}`)));
  filter.socket.value = chosen;
}

function pause() {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Go on" : "Pause";
  draw();
}

function move(step) {
  const at = document.activeElement?.closest?.("#frames > li");
  const next = at ? (step > 0 ? at.nextElementSibling : at.previousElementSibling) : list.lastElementChild;
  next?.focus({ preventScroll: true });
  next?.scrollIntoView({ block: "nearest" });
}

// key handles a key that nothing else has a use for. It reports whether it did.
export function key(name) {
  switch (name) {
    case "/": filter.text.focus(); filter.text.select(); return true;
    case "p": pause(); return true;
    case "c": clear(); return true;
    case "j": case "ArrowDown": move(1); return true;
    case "k": case "ArrowUp": move(-1); return true;
    case "End": list.scrollTop = list.scrollHeight; return true;
    case "Enter": {
      const li = document.activeElement?.closest?.("#frames > li");
      if (li) toggle(li);
      return Boolean(li);
    }
  }
  return false;
}

// escape undoes one thing: an open frame, the filter.
export function escape() {
  const open = document.activeElement?.closest?.("#frames > li[data-open]");
  if (open) return toggle(open);
  for (const input of Object.values(filter)) if (input.type !== "checkbox") input.value = "";
  document.activeElement?.blur?.();
  redraw();
}

export function start() {
  recall();
  matches = makeMatcher();
  let due = 0; // the request for a redrawing
  const soon = () => { due ||= requestAnimationFrame(() => { due = 0; redraw(); }); };
  for (const input of Object.values(filter)) input.addEventListener("input", soon);
  $("filter").addEventListener("submit", (e) => e.preventDefault());
  $("pause").addEventListener("click", pause);
  $("clear").addEventListener("click", clear);
  $("newest").addEventListener("click", () => {
    if (paused) pause();
    list.scrollTop = list.scrollHeight;
    tell();
  });
  list.addEventListener("scroll", tell, { passive: true });
  list.addEventListener("click", (e) => {
    if (e.target.closest(".details") || String(getSelection())) return;
    const li = e.target.closest("li");
    if (li) { toggle(li); li.focus({ preventScroll: true }); }
  });
  addEventListener("hashchange", () => { recall(); redraw(); });
}
