// What every part of the page needs. Whatever comes from the server is put in
// as text, never as HTML.

export const $ = (id) => document.getElementById(id);

// element makes an element of a tag, or of "tag.class", with attributes.
export function element(kind, attributes, ...content) {
  const [tag, ...classes] = kind.split(".");
  const e = document.createElement(tag);
  if (classes.length) e.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") e.toggleAttribute(name, value);
    else e.setAttribute(name, value);
  }
  e.append(...content);
  return e;
}

let hiding = 0;

// say tells what has been done, or why not, for a while.
export function say(text, wrong = false) {
  const said = $("said");
  said.textContent = text;
  said.classList.toggle("wrong", wrong);
  said.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { said.hidden = true; }, wrong ? 8000 : 3000);
}

// ask makes a request to /mock/v1/ and says how it went. It returns the answer,
// or undefined.
export async function ask(method, path, body, done) {
  try {
    const answer = await fetch("/mock/v1/" + path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    const value = text ? JSON.parse(text) : null;
    if (!answer.ok) throw new Error(value?.error ?? answer.statusText);
    if (done) say(done);
    return value;
  } catch (error) {
    say(error.message, true);
    return undefined;
  }
}

const two = (n) => String(n).padStart(2, "0");

// timeOf is the time of day, on this computer's clock, to the millisecond.
export function timeOf(text) {
  const t = new Date(text);
  if (Number.isNaN(t.getTime())) return "";
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${String(t.getMilliseconds()).padStart(3, "0")}`;
}

const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const narrowest = 72; // characters that an object or a list may have to stand in one line
const longest = 300_000; // characters that are coloured

// formatted returns JSON text, indented, with every value as it stands there:
// numbers are not read, as JavaScript would round them. Other text is returned
// as it is.
export function formatted(text) {
  const out = document.createDocumentFragment();
  try {
    if (text.length > longest) throw new Error("too long");
    JSON.parse(text);
  } catch {
    out.append(text);
    return out;
  }
  const tokens = text.match(token);
  const inline = fitting(tokens);
  const open = []; // for each open bracket, whether it is in one line
  const line = () => (open.at(-1) ? "" : "\n" + "  ".repeat(open.length));
  tokens.forEach((t, i) => {
    if (t === "{" || t === "[") {
      open.push(open.at(-1) || inline[i]);
      out.append(t, tokens[i + 1] === "}" || tokens[i + 1] === "]" ? "" : line());
    } else if (t === "}" || t === "]") {
      const flat = open.pop();
      const empty = tokens[i - 1] === "{" || tokens[i - 1] === "[";
      out.append(flat || empty ? t : "\n" + "  ".repeat(open.length) + t);
    } else if (t === ",") out.append(",", open.at(-1) ? " " : line());
    else if (t === ":") out.append(": ");
    else out.append(element(tokens[i + 1] === ":" ? "span.key" : t[0] === '"' ? "span.string" : "span.value", {}, t));
  });
  return out;
}

// fitting tells of each opening bracket whether what it encloses is short.
function fitting(tokens) {
  const fits = [];
  const open = []; // indexes of brackets, and the length before them
  let length = 0;
  tokens.forEach((t, i) => {
    if (t === "{" || t === "[") open.push([i, length]);
    length += t.length + 1;
    if (t === "}" || t === "]") {
      const [at, before] = open.pop();
      fits[at] = length - before <= narrowest;
    }
  });
  return fits;
}
