// The page of search-sync. Everything that comes from the table is put in as
// text, never as HTML.

const columns = JSON.parse(document.body.dataset.columns);
const [titleColumn, subtitleColumn, ...textColumns] = columns.search;
const otherColumns = columns.fields.filter((name) => !columns.search.includes(name));
const $ = (id) => document.getElementById(id);
const query = $("query");
const numbers = new Intl.NumberFormat("en");

let status = null; // the last event
let clockAhead = 0; // this clock less the server's, in ms
let shown = new Map(); // id → hash of the documents on the page
let searchedVersion = -1; // of the index, when it was last searched
let request = null; // the search under way

function element(tag, className, ...content) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...content);
  return e;
}

// marked returns the text with the beginnings of words marked that are being
// searched: at the start of a word, and at a capital within one.
function marked(text, words) {
  const parts = document.createDocumentFragment();
  const lower = text.toLowerCase();
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const starts = i === 0 || !/[\p{L}\p{N}]/u.test(text[i - 1]) || /\p{Lu}/u.test(text[i]);
    const word = starts && words.find((w) => lower.startsWith(w, i));
    if (!word) continue;
    parts.append(text.slice(from, i), element("mark", "", text.slice(i, i + word.length)));
    from = i + word.length;
    i = from - 1;
  }
  parts.append(text.slice(from));
  return parts;
}

const isTime = (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value);

// plain is a value, which comes as text, for people.
function plain(value) {
  if (value === undefined) return "–"; // NULL
  return isTime(value) ? new Date(value).toLocaleTimeString() : value;
}

// fill makes li show a document.
function fill(li, doc, words, op) {
  const text = (column) => marked(plain(doc.fields[column]), words);
  const title = element("div", "title", element("strong", "", text(titleColumn)));
  if (subtitleColumn) title.append(element("span", "", text(subtitleColumn)));
  if (op) title.append(element("span", "op", op));
  li.replaceChildren(title);
  for (const column of textColumns) {
    if (doc.fields[column]) li.append(element("p", "", text(column)));
  }
  const facts = element("div", "facts");
  for (const column of otherColumns) {
    const value = doc.fields[column];
    if (value?.includes(" ")) li.append(element("code", "", value));
    else facts.append(element("span", "", column.replaceAll("_", " ") + " ", element("b", "", plain(value))));
  }
  li.append(facts);
}

// show makes the list show documents: those that are new or have changed since
// it showed them last flash, unless it shows something else now.
function show(entries, words, flashing) {
  const before = shown;
  shown = new Map();
  const items = entries.map(({ doc, id, op }) => {
    const li = element("li", doc ? "" : "gone");
    li.tabIndex = -1;
    li.dataset.id = id;
    if (doc) fill(li, doc, words, op);
    else li.append(element("div", "title", element("strong", "", "row " + id), element("span", "op", op)));
    const key = doc ? doc.hash : "gone";
    if (flashing && before.get(id) !== key) li.classList.add("flash");
    shown.set(id, key);
    return li;
  });
  replaceItems($("results"), items);
}

// replaceItems keeps the focus on the item that has it, and leaves alone what
// has not changed, so that flashes end in peace.
function replaceItems(list, items) {
  const focused = list.contains(document.activeElement) && document.activeElement.dataset.id;
  items.forEach((item, i) => {
    const old = list.children[i];
    if (!old) list.append(item);
    else if (item.classList.contains("flash") || old.innerHTML !== item.innerHTML) old.replaceWith(item);
  });
  while (list.children.length > items.length) list.lastChild.remove();
  if (focused) [...list.children].find((li) => li.dataset.id === focused)?.focus();
}

// search shows what matches the box, or, if that is empty, the last changes.
async function search(flashing) {
  request?.abort();
  const typed = query.value.trim();
  if (!typed) {
    showChanges(flashing);
    return;
  }
  request = new AbortController();
  searchedVersion = status?.version ?? -1;
  try {
    const answer = await fetch("/search?q=" + encodeURIComponent(typed), { signal: request.signal });
    if (!answer.ok) throw new Error(await answer.text());
    const found = await answer.json();
    const words = typed.toLowerCase().split(/[^\p{L}\p{N}]+/u).filter(Boolean);
    $("results-title").textContent = "Results";
    $("found").textContent = `${numbers.format(found.total)} found in ${found.milliseconds.toFixed(1)} ms` +
      (found.total > found.hits.length ? `, the first ${found.hits.length} shown` : "");
    show(found.hits.map((doc) => ({ doc, id: doc.id })), words, flashing);
  } catch (error) {
    if (error.name !== "AbortError") $("found").textContent = error.message;
  }
}

function showChanges(flashing) {
  $("results-title").textContent = "Latest changes";
  const recent = status?.recent ?? [];
  $("found").textContent = recent.length ? "" : "There have been none yet.";
  const seen = new Set();
  const latest = recent.filter((r) => !seen.has(r.id) && seen.add(r.id)).slice(0, 12);
  show(latest.map((r) => ({ doc: r.document, id: r.id, op: r.op.toLowerCase() + (r.cause === "stream" ? "" : ", " + r.cause) })), [], flashing);
}

function showStatus() {
  $("state").textContent = status.phase;
  $("state").dataset.state = status.phase;
  for (const [id, n] of [["rows", status.rows], ["documents", status.documents], ["events", status.events],
    ["epoch", status.epoch], ["gap-count", status.gapCount], ["contradictions", status.contradictions],
    ["doubtful", status.doubtful], ["repaired", status.repaired]]) {
    $(id).textContent = n === null ? "–" : numbers.format(n);
  }
  $("round-trip").textContent = status.roundTrip ? Math.ceil(status.roundTrip) + " ms" : "–";
  if (status.verification) {
    const { at, rows, differences } = status.verification;
    $("verified").textContent = `${numbers.format(differences)} of ${numbers.format(rows)}`;
    $("verified-at").textContent = `rows differed at the last verification, ${new Date(at).toLocaleTimeString()}`;
  }
  $("reading").hidden = status.phase !== "loading";
  $("progress").max = Math.max(status.total, 1);
  $("progress").value = status.loaded;
  $("progress-text").textContent = `reading the table: ${numbers.format(status.loaded)} of ${numbers.format(status.total)} rows`;
  $("trouble").hidden = !status.trouble;
  $("trouble").textContent = status.trouble;
  showGaps();
  showLag();
}

function showGaps() {
  const items = (status.gaps ?? []).map((gap) => {
    const time = element("time", "", new Date(gap.at).toLocaleTimeString());
    const li = element("li", gap.open ? "open" : "", element("div", "", element("strong", "", gap.reason), time));
    if (gap.error) li.append(element("p", "", gap.error));
    li.append(element("p", "", gap.open ? "still open" : healing(gap.healed)));
    return li;
  });
  replaceItems($("gaps"), items);
}

function healing(healed) {
  if (!healed) return "the table is being read";
  const documents = healed.changes === 1 ? "1 document" : numbers.format(healed.changes) + " documents";
  return `in step after ${healed.seconds.toFixed(1)} s: ${documents} changed`;
}

// showLag shows how long ago the last change was committed.
function showLag() {
  if (!status || status.commit.startsWith("0001")) return;
  const ms = Math.max(Date.now() - clockAhead - Date.parse(status.commit), 0);
  $("lag").textContent = ms < 60e3 ? (ms / 1e3).toFixed(1) + " s" : Math.floor(ms / 60e3) + " min";
}

const events = new EventSource("/events");
events.onmessage = (message) => {
  const before = status?.version;
  status = JSON.parse(message.data);
  clockAhead = Date.now() - Date.parse(status.now);
  showStatus();
  if (status.version !== before && !query.value.trim()) showChanges(before !== undefined);
};
events.onerror = () => {
  $("state").textContent = "search-sync does not answer";
  $("state").dataset.state = "gone";
};
setInterval(showLag, 200);
// Results are searched for again as the index changes, though not for each
// change of many.
setInterval(() => {
  if (query.value.trim() && status && status.version !== searchedVersion) search(true);
}, 400);

let typing = 0;
query.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => search(false), 60);
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  search(false);
});

// The buttons break something, or put it right.
const said = {
  break: "The server is away for 4 s. What changes meanwhile is read from the table.",
  lose: "The next 5 changes are lost, and nobody is told. A verification finds them.",
  verify: "The cache has been compared with the table, and repaired.",
};
for (const button of document.querySelectorAll(".buttons button")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const answer = await fetch("/" + button.id, { method: "POST" });
      if (!answer.ok) throw new Error(await answer.text());
      $("said").textContent = said[button.id];
    } catch (error) {
      $("said").textContent = error.message;
    }
    button.disabled = false;
  });
}

// The slash goes to the search box, the arrows through the results, Escape back
// and then clears.
document.addEventListener("keydown", (event) => {
  const items = [...$("results").children];
  const at = items.indexOf(document.activeElement);
  if (event.key === "/" && document.activeElement !== query) {
    query.focus();
    query.select();
  } else if (event.key === "Escape") {
    if (document.activeElement === query) query.value = "";
    query.focus();
    search(false);
  } else if (event.key === "ArrowDown" && (at >= 0 || document.activeElement === query)) {
    items[Math.min(at + 1, items.length - 1)]?.focus();
  } else if (event.key === "ArrowUp" && at >= 0) {
    (items[at - 1] ?? query).focus();
  } else {
    return;
  }
  event.preventDefault();
});
