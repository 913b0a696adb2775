// The page of push-notify. Everything that comes from the tables is put in as
// text, never as HTML.

const $ = (id) => document.getElementById(id);
const key = document.body.dataset.key; // to subscribe with: base64url
const statuses = document.body.dataset.statuses.split(" ");
const numbers = new Intl.NumberFormat("en");
const customer = $("customer");

// vendorPatience is how long the browser may take to reach its push service: one
// that cannot does not always say so.
const vendorPatience = 5000;
const keptInList = 5;
// Where the page keeps what it has at the demo's own push service, and whose
// orders it is about.
const relayItem = "push-notify relay";
const customerItem = "push-notify customer";

let worker = null; // the registration
let own = null; // the subscription: { via: "browser" | "relay", subscription, … }

function element(tag, className, ...content) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...content);
  return e;
}

function say(text, bad = false) {
  $("said").textContent = text;
  $("said").classList.toggle("bad", bad);
}

async function post(path, body = {}) {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer;
}

// ---- a subscription, by the browser's push service or by the demo's own

// byBrowser subscribes the usual way.
async function byBrowser() {
  if (!worker.pushManager) throw new Error("it has no push service");
  const asking = worker.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  let timer;
  const late = new Promise((_, no) => {
    timer = setTimeout(() => no(new Error("its push service did not answer")), vendorPatience);
  });
  try {
    return fromBrowser(await Promise.race([asking, late]));
  } catch (error) {
    asking.then((subscription) => subscription.unsubscribe(), () => {}); // should it still come
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function fromBrowser(subscription) {
  return { via: "browser", subscription: subscription.toJSON(), end: () => subscription.unsubscribe() };
}

// byRelay subscribes at the demo's own push service, which makes the keys.
async function byRelay(why) {
  const answer = await post("/relay/subscriptions", { applicationServerKey: key });
  const { receive, ...subscription } = await answer.json();
  localStorage.setItem(relayItem, JSON.stringify({ receive, subscription, why }));
  return fromRelay(receive, subscription, why);
}

function fromRelay(receive, subscription, why) {
  let stream;
  const listen = () => {
    stream = new EventSource(receive);
    stream.onmessage = async (event) => {
      const { id, data } = JSON.parse(event.data);
      try {
        await pushToWorker(data);
        await fetch(`${receive}/${id}`, { method: "DELETE" });
      } catch (error) {
        say(`A notification cannot be shown: ${error.message}`, true);
      }
    };
    stream.onerror = async () => {
      if (stream.readyState !== EventSource.CLOSED) return; // it tries again
      // So it is when the page is being left, too. Whether there is such a
      // subscription is what any message says, and there is none with this number.
      const answer = await fetch(`${receive}/0`, { method: "DELETE" }).catch(() => null);
      if (answer?.ok) listen();
      if (answer?.status !== 404) return;
      forget();
      say("The push service knows this browser no longer. Subscribe again.", true);
    };
  };
  listen();
  return {
    via: "relay", subscription, why,
    end: () => {
      stream.close();
      localStorage.removeItem(relayItem);
      return fetch(receive, { method: "DELETE" });
    },
  };
}

// pushToWorker has the worker do what it does with a push, and waits for it.
function pushToWorker(data) {
  return new Promise((ok, no) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = (event) => (event.data.error ? no(new Error(event.data.error)) : ok());
    worker.active.postMessage({ push: data }, [port2]);
  });
}

// before returns the subscription that this browser has from before, if it is
// for this server's key.
async function before() {
  const subscription = await worker.pushManager?.getSubscription();
  if (subscription && sameKey(subscription.options.applicationServerKey)) return fromBrowser(subscription);
  await subscription?.unsubscribe();
  const kept = JSON.parse(localStorage.getItem(relayItem));
  if (!kept) return null;
  // The demo's push service forgets everything when it ends.
  return fromRelay(kept.receive, kept.subscription, kept.why);
}

function sameKey(buffer) {
  const text = btoa(String.fromCharCode(...new Uint8Array(buffer)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "") === key.replaceAll("=", "");
}

// ---- what the page says of it

function forget() {
  own = null;
  localStorage.removeItem(relayItem);
  showOwn();
}

function showOwn() {
  $("subscribe").hidden = Boolean(own);
  $("unsubscribe").hidden = !own;
  $("fallback").hidden = own?.via !== "relay";
  if (own?.via === "relay") {
    $("fallback").textContent = `This browser could not subscribe at a push service (${own.why}). ` +
      "The demo’s own takes its place: it checks signature and encryption as the browser’s would, " +
      "and gives what it decrypts to this page, which has to stay open.";
  }
}

function name() {
  return customer.selectedOptions[0]?.textContent ?? "nobody";
}

function sayOwn() {
  const host = own.via === "browser" ? new URL(own.subscription.endpoint).host : "the demo’s own push service";
  say(`Subscribed to the orders of ${name()}, by ${host}.`);
}

// register makes this browser the customer's device.
async function register(subscription) {
  await post("/subscribe", { customer: Number(customer.value), subscription });
}

// busy has nobody press twice.
async function busy(button, task) {
  button.disabled = true;
  try {
    await task();
  } catch (error) {
    say(error.message, true);
  }
  button.disabled = false;
}

$("subscribe").addEventListener("click", (event) => busy(event.currentTarget, async () => {
  const allowed = Notification.permission === "default" ? await Notification.requestPermission() : Notification.permission;
  if (allowed !== "granted") throw new Error("This browser does not allow notifications here. Its settings for this site can change that.");
  say("Asking the browser’s push service …");
  const made = await byBrowser().catch((error) => byRelay(error.message));
  try {
    await register(made.subscription);
  } catch (error) {
    await made.end();
    throw error;
  }
  own = made;
  showOwn();
  sayOwn();
  $("unsubscribe").focus();
}));

$("unsubscribe").addEventListener("click", (event) => busy(event.currentTarget, async () => {
  await post("/unsubscribe", { subscription: own.subscription });
  await own.end();
  forget();
  say("Not subscribed.");
  $("subscribe").focus();
}));

customer.addEventListener("change", async () => {
  localStorage.setItem(customerItem, customer.value);
  if (own) await busy(customer, async () => {
    await register(own.subscription);
    sayOwn();
  });
});

$("advance").addEventListener("click", (event) => busy(event.currentTarget, async () => {
  await post("/advance", { customer: Number(customer.value) });
  $("done").textContent = `An order of ${name()} has moved on.`;
}));

$("break").addEventListener("click", (event) => busy(event.currentTarget, async () => {
  await post("/break");
  $("done").textContent = "Realtime is away for 4 s. What changes meanwhile is told once it is back; a courier at the door then or never.";
}));

// ---- what is going on

function showReceived(n, fresh) {
  const at = new Date(n.at);
  const li = element("li", fresh ? "flash" : "", element("strong", "", n.title), element("time", "", at.toLocaleTimeString()), element("p", "", n.body));
  li.dataset.tag = n.key;
  [...$("received").children].find((old) => old.dataset.tag === n.key)?.remove();
  $("received").prepend(li);
  while ($("received").children.length > keptInList) $("received").lastChild.remove();
  $("nothing").hidden = true;
}

function showOrders(orders, customers) {
  const items = orders.map((o) => {
    const steps = element("span", "steps");
    steps.ariaHidden = "true";
    statuses.forEach((_, i) => steps.append(element("i", i <= o.step ? "done" : "")));
    const li = element("li", "", element("strong", "", `Order ${o.id}`), element("span", "who", customers[o.customer - 1]), steps, element("span", "status", o.status));
    li.dataset.order = o.id;
    li.dataset.status = o.status;
    return li;
  });
  const old = new Map([...$("orders").children].map((li) => [li.dataset.order, li.dataset.status]));
  for (const li of items) {
    if (old.size && old.get(li.dataset.order) !== li.dataset.status) li.classList.add("flash");
  }
  $("orders").replaceChildren(...items);
}

function showCustomers(names) {
  for (let id = customer.options.length + 1; id <= names.length; id++) {
    customer.add(new Option(names[id - 1], id));
  }
}

let lastOrders = "";
function showState(s) {
  $("state").textContent = s.phase;
  $("state").dataset.state = s.phase;
  for (const id of ["devices", "sent", "retried", "tooOld", "nobody", "gone", "buried", "gaps", "behind"]) $(id).textContent = numbers.format(s[id]);
  for (const [name, n] of Object.entries(s.relay)) $("relay-" + name).textContent = numbers.format(n);
  showCustomers(s.customers);
  const orders = JSON.stringify(s.orders);
  if (orders !== lastOrders) showOrders(s.orders, s.customers);
  lastOrders = orders;
}

// firstState is when it is known who the customers are.
const firstState = new Promise((known) => {
  const events = new EventSource("/events");
  events.onmessage = (event) => {
    showState(JSON.parse(event.data));
    known();
  };
  events.onerror = () => {
    $("state").textContent = "push-notify does not answer";
    $("state").dataset.state = "gone";
  };
});

async function start() {
  if (!navigator.serviceWorker || !("Notification" in window)) {
    say(isSecureContext ? "This browser has no notifications." : "Browsers have notifications only for pages at https: or localhost.", true);
    return;
  }
  navigator.serviceWorker.addEventListener("message", (event) => showReceived(event.data.shown, true));
  await navigator.serviceWorker.register("/worker.js");
  worker = await navigator.serviceWorker.ready;
  for (const n of await worker.getNotifications()) {
    showReceived({ key: n.tag, title: n.title, body: n.body, at: n.timestamp }, false);
  }
  await firstState;
  const wanted = localStorage.getItem(customerItem);
  if (wanted <= customer.options.length) customer.value = wanted ?? 1;
  own = await before();
  showOwn();
  $("subscribe").disabled = false;
  if (!own) {
    say("Not subscribed.");
    return;
  }
  await register(own.subscription);
  sayOwn();
}
start().catch((error) => say(error.message, true));
