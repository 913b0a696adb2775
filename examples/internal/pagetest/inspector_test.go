package pagetest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/cdc"
	"github.com/gapless-go/gapless/channel"
	"github.com/gapless-go/gapless/examples/internal/pagetest"
	"github.com/gapless-go/gapless/mockserver"
	"github.com/gapless-go/gapless/realtime"
)

// inspected is a server with its page, and a client that follows a table.
type inspected struct {
	t      *testing.T
	server *mockserver.Server
	client *realtime.Client
}

func inspect(t *testing.T) *inspected {
	cfg := mockserver.Demo()
	cfg.Inspector, cfg.Timing = true, mockserver.Fast()
	server := mockserver.Start(t, cfg)
	token := server.UserToken("11111111-1111-4111-8111-111111111111", time.Hour)
	client, err := realtime.New(realtime.Options{
		URL: server.URL(), Key: server.AnonKey(), HTTPClient: server.HTTPClient(), ReconnectMin: time.Millisecond,
		Token: func(context.Context) (string, time.Time, error) { return token, time.Time{}, nil },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(context.Background())) })
	room, err := client.Channel("customers", channel.Private())
	require.NoError(t, err)
	customers, err := room.Subscribe(channel.Binding{Table: "customers", Filter: cdc.Neq("city", "Porto")}, channel.Binding{Table: "orders"})
	require.NoError(t, err)
	go func() { // ends with the client
		for range customers.Changes(context.Background()) {
		}
	}()
	require.NoError(t, room.WaitLive(t.Context()))
	return &inspected{t, server, client}
}

// frame is how many frames in the page have an event and a text.
func frame(event, text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#frames > li")].filter((li) => li.querySelector(".event").textContent === %s && li.querySelector(".text").textContent.includes(%s)).length`,
		pagetest.JS(event), pagetest.JS(text))
}

func TestInspector(t *testing.T) {
	b := pagetest.Open(t)
	i := inspect(t)
	b.Do(chromedp.Navigate(i.server.URL()), chromedp.WaitVisible(chromedp.CSS("#frames > li")))

	// What has passed before, without tokens.
	b.Until(frame("phx_join", "[redacted]"))
	b.Until(frame("system", "Subscribed to PostgreSQL"))
	require.NotContains(t, pagetest.Look[string](b, "document.body.outerHTML"), "eyJ")
	b.Until(`document.querySelector("#sockets article").textContent.includes("customers")`)
	b.Until(`document.querySelector("#sockets .binding").textContent === "* public.customers  city=neq.Porto"`)

	// A change passes. Its number is more than JavaScript has.
	const hostile = `<img src=x onerror="document.title = 'broken'">`
	require.NoError(t, i.server.Insert("customers", mockserver.Row{"id": int64(9007199254740993), "name": hostile, "city": "Oslo"}))
	b.Until(frame("postgres_changes", "9007199254740993"))
	b.Do(chromedp.Click(chromedp.CSS("#frames > li:last-child")))
	b.Until(`document.querySelector(".details pre").textContent.includes('"id": 9007199254740993')`)
	require.NotEqual(t, "broken", pagetest.Look[string](b, "document.title"))

	// And is in the table.
	b.Do(chromedp.Click(chromedp.CSS("#tab-tables")), chromedp.Click(chromedp.CSS(`#tables details[data-table="customers"] summary`)))
	b.Until(`document.querySelectorAll("#tables tbody tr").length === 3`)
	require.True(t, pagetest.Look[bool](b, `document.querySelector("#tables tbody").textContent.includes("9007199254740993")`))
	_, err := i.server.Update("customers", mockserver.Row{"city": "Bodø"}, mockserver.Row{"id": 1})
	require.NoError(t, err)
	b.Until(`document.querySelector("#tables tbody").textContent.includes("Bodø")`)

	// The filter.
	b.Do(chromedp.KeyEvent(kb.Escape), chromedp.SendKeys(chromedp.CSS("#text"), "bodø -porto"))
	b.Until(`document.querySelectorAll("#frames > li").length === 1`)
	b.Until(`location.hash.includes("text=bod")`)
	b.Do(chromedp.SendKeys(chromedp.CSS("#text"), kb.Escape))
	b.Until(`document.querySelectorAll("#frames > li").length > 5 && document.getElementById("text").value === ""`)
	require.Zero(t, pagetest.Look[int](b, frame("heartbeat", "")))

	// Keys.
	b.Do(chromedp.KeyEvent("k"), chromedp.KeyEvent("k"), chromedp.KeyEvent("j"))
	b.Until(`document.activeElement === document.querySelector("#frames > li:last-child")`)
	b.Do(chromedp.KeyEvent(kb.Enter))
	b.Until(`document.activeElement.querySelector(".details") !== null`)
	b.Do(chromedp.KeyEvent(kb.Escape))
	b.Until(`document.activeElement.matches("#frames > li") && document.querySelector(".details") === null`)
	b.Do(chromedp.KeyEvent("p"))
	b.Until(`document.getElementById("pause").getAttribute("aria-pressed") === "true"`)
	_, err = i.server.Update("customers", mockserver.Row{"city": "Hamar"}, mockserver.Row{"id": 1})
	require.NoError(t, err)
	b.Until(`document.getElementById("newest").textContent.startsWith("1 held back")`)
	require.Zero(t, pagetest.Look[int](b, frame("postgres_changes", "Hamar")))
	b.Do(chromedp.KeyEvent("p"))
	b.Until(frame("postgres_changes", "Hamar"))
	b.Do(chromedp.KeyEvent("?"))
	b.Until(`document.getElementById("help").open`)
	b.Do(chromedp.KeyEvent(kb.Escape))
	b.Until(`!document.getElementById("help").open`)

	// A button for every fault, each with all its parameters.
	b.Do(chromedp.Click(chromedp.CSS("#tab-faults")))
	b.Until(fmt.Sprintf(`document.querySelectorAll("#fault-list form").length === %d`, len(i.server.Faults())))
	for _, f := range i.server.Faults() {
		for _, p := range f.Params {
			require.True(t, pagetest.Look[bool](b, fmt.Sprintf(`document.querySelector('form[data-fault="%s"] [name="%s"]') !== null`, f.Name, p.Name)), "%s %s", f.Name, p.Name)
		}
	}

	// One that loses the next two changes.
	b.Do(chromedp.SendKeys(chromedp.CSS("#find-fault"), "drop"), chromedp.SetValue(chromedp.CSS(`form[data-fault="drop-changes"] [name="times"]`), "2"),
		chromedp.Click(chromedp.CSS(`form[data-fault="drop-changes"] .do`)))
	b.Until(frame("fault", `drop-changes {"table":"","times":2}`))
	b.Until(`document.getElementById("said").textContent === "drop-changes: done"`)
	for n := range 3 {
		require.NoError(t, i.server.Insert("customers", mockserver.Row{"id": 100 + n, "name": fmt.Sprint("after", n), "city": "Oslo"}))
	}
	b.Until(frame("postgres_changes", "after2"))
	require.Zero(t, pagetest.Look[int](b, frame("postgres_changes", "after0"))+pagetest.Look[int](b, frame("postgres_changes", "after1")))

	// One that ends the socket, after which the client is back with another.
	b.Do(chromedp.SendKeys(chromedp.CSS("#find-fault"), strings.Repeat(kb.Backspace, 4)+"kill"), chromedp.Click(chromedp.CSS(`form[data-fault="kill-sockets"] .do`)))
	b.Until(frame("ended", "without a close frame"))
	b.Until(`document.querySelector("#sockets article .link").textContent === "#2"`)

	// Parameters that are refused are told.
	b.Do(chromedp.SetValue(chromedp.CSS(`form[data-fault="kill-sockets"] [name="socket"]`), "99"), chromedp.Click(chromedp.CSS(`form[data-fault="kill-sockets"] .do`)))
	b.Until(`document.getElementById("said").textContent.includes("there is no socket 99")`)
	b.Do(chromedp.Click(chromedp.CSS("#heal")))
	b.Until(frame("fault", "heal"))

	// Requests.
	r, err := http.NewRequest("GET", i.server.URL()+"/rest/v1/customers?apikey="+i.server.AnonKey(), nil)
	require.NoError(t, err)
	answer, err := i.server.HTTPClient().Do(r)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, answer.Body)
	require.NoError(t, answer.Body.Close())
	b.Until(frame("request", "GET /rest/v1/customers?apikey=[redacted] 200"))

	// A phone.
	b.Do(chromedp.EmulateViewport(360, 740), chromedp.Click(chromedp.CSS("#tab-frames")))
	b.Until(`getComputedStyle(document.getElementById("side")).display === "none"`)
	for _, tab := range []string{"frames", "sockets", "tables", "faults"} {
		b.Do(chromedp.Click(chromedp.CSS("#tab-" + tab)))
		require.LessOrEqual(t, pagetest.Look[int](b, "document.documentElement.scrollWidth"), 360, tab)
	}
	require.NotContains(t, pagetest.Look[string](b, "document.body.outerHTML"), "eyJ")
	problems := strings.Join(b.Problems(), "\n")
	require.Equal(t, 1, strings.Count(problems, "/mock/v1/faults"), "the refused one: %s", problems)
	require.Equal(t, 0, strings.Count(problems, "\n"), problems)
}
