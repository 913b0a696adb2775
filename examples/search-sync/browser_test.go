package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/mockserver"
)

// patience is for a slow machine; the test goes on as soon as it can.
const patience = time.Minute

// tab is a page in headless Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // exceptions and errors on the console
}

// openTab starts Chromium. Where there is none it skips the test, or fails it
// if GAPLESS_NEED_BROWSER is set, as the gate does.
func openTab(t *testing.T) *tab {
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" && os.Getenv("GAPLESS_NEED_BROWSER") != "" {
		t.Fatal("there is no Chromium, and GAPLESS_NEED_BROWSER says that there is to be one")
	}
	if path == "" {
		t.Skip("the test of the page in a browser needs Chromium (apt-get install chromium)")
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true))
	t.Cleanup(cancel)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_ = chromedp.Cancel(ctx) // waits for the browser, which would be left otherwise
	})
	b := &tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Do(ctx))
	require.NoError(t, chromedp.Listen(ctx, b.note))
	return b
}

// note notes what goes wrong in the page.
func (b *tab) note(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, fmt.Sprint(ev.ExceptionDetails.Text, ev.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		b.problems = append(b.problems, ev.Entry.Text+" "+ev.Entry.URL)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

// look evaluates a JavaScript expression.
func look[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

// until looks again and again until an expression is true. The page's security
// policy does not let chromedp.Poll do so.
func (b *tab) until(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !look[bool](b, "Boolean("+expression+")"); {
		if time.Now().After(deadline) {
			require.FailNow(b.t, "not so within "+patience.String(), "%s\n%s", expression, look[string](b, "document.body.innerText"))
		}
		time.Sleep(50 * time.Millisecond) // the browser lives in real time
	}
}

// js is a Go string in JavaScript.
func js(s string) string {
	text, _ := json.Marshal(s) // it is a string
	return string(text)
}

// result is the element of a document in the results.
func result(id int) string {
	return fmt.Sprintf(`document.querySelector('#results li[data-id="%d"]')`, id)
}

func TestPageInABrowser(t *testing.T) {
	b := openTab(t)
	d, err := newDemo(mockserver.Config{Timing: mockserver.Fast()}, 400)
	require.NoError(t, err)
	defer d.server.Close()
	s := settings{project: d.project(), sink: SinkOptions{Kind: "bleve"}, addr: "127.0.0.1:0"}
	f, err := follow(s, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.open(t.Context(), s))
	l, err := listen(s.addr)
	require.NoError(t, err)
	page := &Page{Sync: f.sync, Channel: f.channel.Status, Project: s.project, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		_ = together(ctx, f.sync.Run, func(ctx context.Context) error { return page.Serve(ctx, l) })
	})

	b.do(chromedp.Navigate("http://"+l.Addr().String()), chromedp.WaitVisible(chromedp.CSS("#query")))
	b.until(`document.getElementById("documents").textContent === "400" && document.getElementById("rows").textContent === "400"`)
	b.until(`document.getElementById("state").textContent === "live"`)
	b.until(`document.querySelector("#gaps li").textContent.includes("started")`)

	b.do(chromedp.SendKeys(chromedp.CSS("#query"), "tar read"))
	b.until(`document.querySelectorAll("#results li").length > 1`)
	b.until(`[...document.querySelectorAll("#results mark")].some((m) => m.textContent === "tar")`)
	id := look[int](b, `Number([...document.querySelectorAll("#results li")].find((li) => li.textContent.includes("archive/tar")).dataset.id)`)

	// A row changes.
	_, err = d.server.Update(demoTable, mockserver.Row{"views": 123456789012345678, "rating": "4.50"}, mockserver.Row{"id": id})
	require.NoError(t, err)
	b.until(result(id) + `?.textContent.includes("123456789012345678")`) // as exactly as JavaScript could not
	require.True(t, look[bool](b, result(id)+`.textContent.includes("rating 4.50")`))
	require.True(t, look[bool](b, result(id)+`.classList.contains("flash")`))
	b.until(`document.getElementById("applied").textContent !== "0" && document.getElementById("lag").textContent.endsWith(" s")`)

	// A row comes and goes.
	const name = `TarReader <img src=x onerror="document.title = 'broken'">`
	r := mockserver.Row{"id": 5000, "package": "archive/tar", "name": name, "kind": "type", "signature": "type TarReader <b>", "views": 0}
	require.NoError(t, d.server.Insert(demoTable, r))
	b.until(result(5000) + `?.querySelector("strong").textContent === ` + js(name))
	require.NotEqual(t, "broken", look[string](b, "document.title"))
	b.until(`document.getElementById("documents").textContent === "401"`)
	_, err = d.server.Delete(demoTable, mockserver.Row{"id": 5000})
	require.NoError(t, err)
	b.until(result(5000) + ` === null`)
	b.until(`document.getElementById("rows").textContent === "400"`)

	// The connection is lost.
	d.server.KillSockets()
	_, err = d.server.Update(demoTable, mockserver.Row{"views": 77777}, mockserver.Row{"id": id})
	require.NoError(t, err)
	b.until(`document.getElementById("gap-count").textContent === "2" && document.getElementById("readings").textContent === "2"`)
	b.until(`document.querySelector("#gaps li").textContent.includes("disconnected")`)
	b.until(result(id) + `?.textContent.includes("77777")`)

	// Keys.
	b.do(chromedp.SendKeys(chromedp.CSS("#query"), kb.ArrowDown))
	require.True(t, look[bool](b, `document.activeElement === document.querySelector("#results li")`))
	b.do(chromedp.SendKeys(chromedp.CSS("#results li"), kb.Escape))
	require.True(t, look[bool](b, `document.activeElement.id === "query" && document.activeElement.value === "tar read"`))
	b.do(chromedp.SendKeys(chromedp.CSS("#query"), kb.Escape))
	b.until(`document.getElementById("query").value === "" && document.getElementById("results-title").textContent === "Latest changes"`)
	b.do(chromedp.Blur(chromedp.CSS("#query")), chromedp.KeyEvent("/"))
	require.Equal(t, "query", look[string](b, "document.activeElement.id"))

	// A phone. The slash may be in the box: what chromedp types cannot be prevented.
	b.do(chromedp.EmulateViewport(360, 740), chromedp.SendKeys(chromedp.CSS("#query"), "reader"))
	b.until(`document.querySelectorAll("#results li").length > 5`)
	require.LessOrEqual(t, look[int](b, "document.documentElement.scrollWidth"), 360)
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(t, strings.Join(b.problems, "\n"))
}
