package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/examples/internal/jobs"
	"github.com/gapless-go/gapless/examples/internal/pagetest"
	"github.com/gapless-go/gapless/examples/internal/site"
	"github.com/gapless-go/gapless/mockserver"
)

// patience is for a slow machine; a test goes on as soon as it can.
const patience = time.Minute

// result is the element of a document in the results.
func result(id int) string {
	return fmt.Sprintf(`document.querySelector('#results li[data-id="%d"]')`, id)
}

func TestPageInABrowser(t *testing.T) {
	b := pagetest.Open(t)
	d, err := newDemo(mockserver.Config{Timing: mockserver.Fast()}, 400)
	require.NoError(t, err)
	defer d.server.Close()
	s := settings{project: d.project(), sink: SinkOptions{Kind: "bleve"}, addr: "127.0.0.1:0"}
	f, err := follow(t.Context(), s, nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer f.Close()
	l, err := site.Listen(s.addr)
	require.NoError(t, err)
	page := &Page{Sync: f.sync, Project: s.project, Demo: d, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		_ = jobs.Together(ctx, f.Run, func(ctx context.Context) error { return page.Serve(ctx, l) })
	})

	b.Do(chromedp.Navigate("http://"+l.Addr().String()), chromedp.WaitVisible(chromedp.CSS("#query")))
	b.Until(`document.getElementById("documents").textContent === "400" && document.getElementById("rows").textContent === "400"`)
	b.Until(`document.getElementById("state").textContent === "synced"`)
	b.Until(`document.querySelector("#gaps li").textContent.includes("started")`)

	b.Do(chromedp.SendKeys(chromedp.CSS("#query"), "tar read"))
	b.Until(`document.querySelectorAll("#results li").length > 1`)
	b.Until(`[...document.querySelectorAll("#results mark")].some((m) => m.textContent === "tar")`)
	id := pagetest.Look[int](b, `Number([...document.querySelectorAll("#results li")].find((li) => li.textContent.includes("archive/tar")).dataset.id)`)

	// A row changes.
	_, err = d.server.Update(demoTable, mockserver.Row{"views": 123456789012345678, "rating": "4.50"}, mockserver.Row{"id": id})
	require.NoError(t, err)
	b.Until(result(id) + `?.textContent.includes("123456789012345678")`) // as exactly as JavaScript could not
	require.True(t, pagetest.Look[bool](b, result(id)+`.textContent.includes("rating 4.50")`))
	require.True(t, pagetest.Look[bool](b, result(id)+`.classList.contains("flash")`))
	b.Until(`document.getElementById("events").textContent !== "0" && document.getElementById("lag").textContent.endsWith(" s")`)

	// A row comes and goes.
	const name = `TarReader <img src=x onerror="document.title = 'broken'">`
	r := mockserver.Row{"id": 5000, "package": "archive/tar", "name": name, "kind": "type", "signature": "type TarReader <b>", "views": 0}
	require.NoError(t, d.server.Insert(demoTable, r))
	b.Until(result(5000) + `?.querySelector("strong").textContent === ` + pagetest.JS(name))
	require.NotEqual(t, "broken", pagetest.Look[string](b, "document.title"))
	b.Until(`document.getElementById("documents").textContent === "401"`)
	_, err = d.server.Delete(demoTable, mockserver.Row{"id": 5000})
	require.NoError(t, err)
	b.Until(result(5000) + ` === null`)
	b.Until(`document.getElementById("rows").textContent === "400"`)

	// The connection is broken, which somebody sees who has the page open; it
	// heals.
	b.Do(chromedp.Click(chromedp.CSS("#break")))
	b.Until(`document.getElementById("state").dataset.state === "stale"`)
	_, err = d.server.Update(demoTable, mockserver.Row{"views": 77777}, mockserver.Row{"id": id})
	require.NoError(t, err)
	b.Until(`document.getElementById("state").dataset.state === "synced" && document.getElementById("gap-count").textContent === "2"`)
	b.Until(result(id) + `?.textContent.includes("77777")`)
	b.Until(`document.querySelector("#gaps li").textContent.includes("1 document changed")`)

	// Changes are lost without a word, and found by a verification.
	b.Do(chromedp.Click(chromedp.CSS("#lose")))
	b.Until(`document.getElementById("said").textContent.includes("lost")`)
	for n := range loseAtOnce {
		_, err = d.server.Update(demoTable, mockserver.Row{"views": 888}, mockserver.Row{"id": 1 + n})
		require.NoError(t, err)
	}
	require.NoError(t, f.table.CatchUp(t.Context()))
	b.Do(chromedp.Click(chromedp.CSS("#verify")))
	b.Until(`document.getElementById("verified").textContent.includes("5 of 400")`)
	b.Until(`document.getElementById("repaired").textContent !== "0" && !document.getElementById("verify").disabled`)
	require.Eventually(t, func() bool {
		rows, err := d.server.Rows(demoTable)
		require.NoError(t, err)
		differences, err := compare(rows, f.sync.Sink.All(t.Context()))
		require.NoError(t, err)
		return len(differences) == 0
	}, patience, 50*time.Millisecond)

	// Keys.
	b.Do(chromedp.SendKeys(chromedp.CSS("#query"), kb.ArrowDown))
	require.True(t, pagetest.Look[bool](b, `document.activeElement === document.querySelector("#results li")`))
	b.Do(chromedp.SendKeys(chromedp.CSS("#results li"), kb.Escape))
	require.True(t, pagetest.Look[bool](b, `document.activeElement.id === "query" && document.activeElement.value === "tar read"`))
	b.Do(chromedp.SendKeys(chromedp.CSS("#query"), kb.Escape))
	b.Until(`document.getElementById("query").value === "" && document.getElementById("results-title").textContent === "Latest changes"`)
	b.Do(chromedp.Blur(chromedp.CSS("#query")), chromedp.KeyEvent("/"))
	require.Equal(t, "query", pagetest.Look[string](b, "document.activeElement.id"))

	// A phone. The slash may be in the box: what chromedp types cannot be prevented.
	b.Do(chromedp.EmulateViewport(360, 740), chromedp.SendKeys(chromedp.CSS("#query"), "reader"))
	b.Until(`document.querySelectorAll("#results li").length > 5`)
	require.LessOrEqual(t, pagetest.Look[int](b, "document.documentElement.scrollWidth"), 360)
	require.Empty(t, b.Problems())
}
