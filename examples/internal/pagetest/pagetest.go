// Package pagetest runs a page in headless Chromium for a test.
package pagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience is for a slow machine; a test goes on as soon as it can.
const patience = time.Minute

// Tab is a page. It is closed at the end of the test.
type Tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // exceptions and errors on the console
	workers  []*serviceworker.Registration
}

// Open starts Chromium. Where there is none it skips the test, or fails it if
// GAPLESS_NEED_BROWSER is set, as the gate does.
func Open(t *testing.T) *Tab {
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
	b := &Tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Do(ctx))
	require.NoError(t, chromedp.Listen(ctx, b.note))
	return b
}

// note notes what goes wrong in the page.
func (b *Tab) note(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, fmt.Sprint(ev.ExceptionDetails.Text, ev.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		b.problems = append(b.problems, ev.Entry.Text+" "+ev.Entry.URL)
	case *serviceworker.EventWorkerRegistrationUpdated:
		b.workers = append(b.workers, ev.Registrations...)
	}
}

// Problems returns the exceptions and the errors on the console.
func (b *Tab) Problems() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.problems...)
}

// Do carries steps out.
func (b *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

// Run runs one step that returns something.
func Run[T any](b *Tab, step chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, step)
	require.NoError(b.t, err)
	return v
}

// Look evaluates a JavaScript expression.
func Look[T any](b *Tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

// Await evaluates a JavaScript expression that is a promise, and returns what it
// becomes.
func Await[T any](b *Tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, expression)
	return v
}

// Grant has the browser allow something, such as notifications, to the pages of
// an origin, without asking anybody.
func (b *Tab) Grant(permission, origin string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: permission}, Setting: browser.PermissionSettingGranted, Origin: origin,
	})
	require.NoError(b.t, err)
}

// Push has a push event come to the service worker of an origin, as if by the
// browser's push service.
func (b *Tab) Push(origin, data string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, serviceworker.Enable, cdp.Empty{}) // which tells of the registrations
	require.NoError(b.t, err)
	var worker *serviceworker.Registration
	require.Eventually(b.t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, r := range b.workers {
			if strings.HasPrefix(r.ScopeURL, origin) && !r.IsDeleted {
				worker = r
			}
		}
		return worker != nil
	}, patience, 20*time.Millisecond, "there is no service worker")
	_, err = chromedp.Call(ctx, serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{
		Origin: origin, RegistrationID: worker.RegistrationID, Data: data,
	})
	require.NoError(b.t, err)
}

// Until looks again and again until an expression is true. The pages' security
// policies do not let chromedp.Poll do so.
func (b *Tab) Until(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !Look[bool](b, "Boolean("+expression+")"); {
		if time.Now().After(deadline) {
			require.FailNow(b.t, "not so within "+patience.String(), "%s\n%s", expression, Look[string](b, "document.body.innerText"))
		}
		time.Sleep(50 * time.Millisecond) // the browser lives in real time
	}
}

// JS is a Go string in JavaScript.
func JS(s string) string {
	text, _ := json.Marshal(s) // it is a string
	return string(text)
}
