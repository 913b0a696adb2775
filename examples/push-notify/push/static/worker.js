// The service worker of push-notify: it shows what is pushed. The page hands it
// what comes by the demo's own push service, in the same form.

async function show(text) {
  const n = JSON.parse(text);
  await self.registration.showNotification(n.title, {
    body: n.body,
    tag: n.key, // what is sent again takes the place of the first
    timestamp: Date.parse(n.at),
    icon: "/static/icon.svg",
  });
  for (const page of await self.clients.matchAll({ type: "window", includeUncontrolled: true })) {
    page.postMessage({ shown: n });
  }
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("push", (event) => event.waitUntil(show(event.data.text())));
self.addEventListener("message", (event) => {
  const answer = event.ports[0];
  event.waitUntil(show(event.data.push).then(() => answer.postMessage({}), (error) => answer.postMessage({ error: String(error) })));
});
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.matchAll({ type: "window" }).then((pages) => (pages.length ? pages[0].focus() : self.clients.openWindow("/"))));
});
