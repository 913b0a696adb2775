package push

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/examples/internal/pagetest"
)

// runDemo runs the program without a project until the test ends, and returns
// where its page is. Orders change when the page wants it only.
func runDemo(t *testing.T) (origin string, log *pagetest.Output) {
	s, err := ParseFlags([]string{"-addr", "127.0.0.1:0", "-rate", "0.0001"}, func(string) string { return "" }, &bytes.Buffer{})
	require.NoError(t, err)
	var out pagetest.Output
	log = &pagetest.Output{}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, s, &out, nil, slog.New(slog.NewTextHandler(log, nil))) }()
	t.Cleanup(func() {
		stop()
		require.ErrorIs(t, <-ended, context.Canceled)
		http.DefaultClient.CloseIdleConnections()
	})
	require.Eventually(t, func() bool {
		origin = regexp.MustCompile(`http://127.0.0.1:\d+`).FindString(out.String())
		return origin != ""
	}, time.Minute, 10*time.Millisecond)
	return origin, log
}

const shownNow = `navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((all) =>
	JSON.stringify(all.map((n) => [n.tag, n.title, n.body].join("|")).sort()))`

// number waits until the page shows a number.
func number(b *pagetest.Tab, id string, n int) {
	b.Until(fmt.Sprintf(`document.getElementById(%q).textContent === "%d"`, id, n))
}

func subscribeInBrowser(t *testing.T, b *pagetest.Tab) {
	t.Helper()
	b.Until(`!document.getElementById("subscribe").disabled`)
	b.Do(chromedp.Click(chromedp.CSS("#subscribe")))
	// Chromium without a window reaches no push service, and says so or nothing.
	b.Until(`document.getElementById("said").textContent === "Subscribed to the orders of Ann, by the demo’s own push service."`)
	b.Until(`document.getElementById("fallback").textContent.startsWith("This browser could not subscribe at a push service (")`)
	require.True(t, pagetest.Look[bool](b, `document.activeElement.id === "unsubscribe" && document.getElementById("subscribe").hidden`))
}

// A browser subscribes, and shows what its customer is told: by a push service
// that verifies and decrypts, and by the code that shows what its own brings.
func TestPageInABrowser(t *testing.T) {
	b := pagetest.Open(t)
	origin, log := runDemo(t)
	b.Grant("notifications", origin)
	b.Do(chromedp.Navigate(origin), chromedp.WaitVisible(chromedp.CSS("#subscribe")))
	b.Until(`document.getElementById("state").dataset.state === "synced"`)
	b.Until(`document.querySelector("#orders li").textContent.includes("Ann")`)
	number(b, "sent", 1) // to the terminal
	require.Equal(t, "Orders of", pagetest.Look[string](b, `document.getElementById("customer").labels[0].textContent`))

	subscribeInBrowser(t, b)
	number(b, "devices", 2)
	b.Do(chromedp.Click(chromedp.CSS("#advance")))
	number(b, "relay-shown", 1)
	const packed = "event-2|Order 1 is packed|Ann, your order 1 is packed."
	require.JSONEq(t, `["`+packed+`"]`, pagetest.Await[string](b, shownNow))
	b.Until(`document.querySelector("#received li").innerText.includes("Ann, your order 1 is packed.")`)
	number(b, "sent", 3)
	number(b, "relay-accepted", 1) // signed by the right key, and decrypted
	number(b, "relay-waiting", 0)
	number(b, "relay-refused", 0)

	// What the browser's own push service brings is shown by the same code, and a
	// repetition in the place of the first.
	for range 2 {
		b.Push(origin, `{"key":"event-x","title":"By the browser","body":"It is here.","at":"2026-01-02T03:04:05Z"}`)
	}
	b.Until(`document.querySelector("#received strong").textContent === "By the browser"`)
	require.JSONEq(t, `["`+packed+`","event-x|By the browser|It is here."]`, pagetest.Await[string](b, shownNow))

	// A page that is opened again goes on.
	b.Do(chromedp.Reload())
	b.Until(`document.getElementById("said").textContent.startsWith("Subscribed to the orders of Ann")`)
	b.Until(`document.querySelectorAll("#received li").length === 2`)
	number(b, "devices", 2)
	b.Do(chromedp.Click(chromedp.CSS("#advance")))
	number(b, "relay-shown", 2)
	require.Contains(t, pagetest.Await[string](b, shownNow), "event-3|Order 1 is shipped")

	// What happens while the connection is broken is told as well.
	b.Do(chromedp.Click(chromedp.CSS("#break")))
	b.Until(`document.getElementById("state").dataset.state === "stale"`)
	b.Do(chromedp.Click(chromedp.CSS("#advance"))) // it is arriving: a broadcast, which may be lost
	b.Until(`document.querySelector("#orders .status").textContent === "arriving"`)
	b.Do(chromedp.Click(chromedp.CSS("#advance")))
	b.Until(`document.querySelector("#received").textContent.includes("Order 1 is delivered")`)
	b.Until(`document.getElementById("gaps").textContent !== "0" && document.getElementById("state").dataset.state === "synced"`)

	// Nothing comes to one that has unsubscribed.
	b.Do(chromedp.Click(chromedp.CSS("#unsubscribe")))
	b.Until(`document.getElementById("said").textContent === "Not subscribed." && document.getElementById("fallback").hidden`)
	number(b, "devices", 1)
	number(b, "relay-subscriptions", 0)
	accepted, before := pagetest.Look[string](b, `document.getElementById("relay-accepted").textContent`), pagetest.Await[string](b, shownNow)
	sent := pagetest.Look[int](b, `Number(document.getElementById("sent").textContent)`)
	b.Do(chromedp.Click(chromedp.CSS("#advance")))
	number(b, "sent", sent+1) // to the terminal
	require.Equal(t, accepted, pagetest.Look[string](b, `document.getElementById("relay-accepted").textContent`))
	require.Equal(t, before, pagetest.Await[string](b, shownNow))
	b.Do(chromedp.EmulateViewport(360, 740))
	require.LessOrEqual(t, pagetest.Look[int](b, "document.documentElement.scrollWidth"), 360)
	require.Empty(t, b.Problems())

	// The push service forgets the browser: its device is removed with the next
	// notification, and the page tells.
	subscribeInBrowser(t, b)
	number(b, "devices", 2)
	require.Equal(t, 204, pagetest.Await[int](b, `fetch(JSON.parse(localStorage.getItem("push-notify relay")).receive, { method: "DELETE" }).then((a) => a.status)`))
	b.Until(`document.getElementById("said").textContent.includes("Subscribe again")`)
	require.Len(t, b.Problems(), 2, "the stream that is there no more, and the question why")
	b.Do(chromedp.Click(chromedp.CSS("#advance")))
	number(b, "gone", 1)
	number(b, "devices", 1)
	number(b, "buried", 0)
	require.NotContains(t, log.String(), "relay/push/", "an address is a secret")
}
