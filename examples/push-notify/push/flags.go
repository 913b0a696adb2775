package push

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Settings are what the flags and the environment say.
type Settings struct {
	Project Project // without a URL: the demo
	Store   string  // the file; empty: one that is gone in the end
	MaxAge  time.Duration
	Settle  time.Duration
	Rate    float64
	Addr    string  // of the demo's page
	Ntfy    Ntfy    // without a URL: there is none
	WebPush WebPush // without keys: there is none
	Check   bool
	CheckOptions
}

const usage = `push-notify tells people of changes to their orders, by way of Supabase Realtime.

Without -url it starts a project of its own in this process, in which customers
order things, and a page on which a browser subscribes to what they are told.
From the environment it reads
  PUSH_NOTIFY_KEY         the project's secret API key
  PUSH_NOTIFY_NTFY_TOKEN  the token for the ntfy server, if it wants one
  PUSH_NOTIFY_VAPID_PUBLIC, PUSH_NOTIFY_VAPID_PRIVATE  the keys for Web Push

`

// ParseFlags reads the flags. It has written to errOut what is wrong with them
// when its error is flag.ErrHelp or any other.
func ParseFlags(args []string, getenv func(string) string, errOut io.Writer) (s Settings, err error) {
	f := flag.NewFlagSet("push-notify", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.Usage = func() {
		fmt.Fprint(errOut, usage)
		f.PrintDefaults()
	}
	f.StringVar(&s.Project.URL, "url", "", "the project's `address`, such as https://ref.supabase.co")
	f.StringVar(&s.Store, "store", "", "the `file` that remembers what was sent; needed with -url")
	f.DurationVar(&s.MaxAge, "max-age", 5*time.Minute, "how `old` an event may be for somebody to want to hear of it")
	f.DurationVar(&s.Settle, "settle", 10*time.Second, "how `long` a transaction takes, and the REST API until it shows it; the events of longer ones are told up to ten seconds later")
	f.Float64Var(&s.Rate, "rate", 0.5, "changes a second that the demo makes")
	f.StringVar(&s.Addr, "addr", "127.0.0.1:8898", "the `address` of the demo's page")
	f.StringVar(&s.Ntfy.URL, "ntfy", "", "the `address` of an ntfy server, for devices of the kind ntfy")
	f.StringVar(&s.WebPush.Contact, "contact", "", "the mail `address` that push services may write to; needed for Web Push")
	var services string
	f.StringVar(&services, "push-services", "", "further `hosts` of push services to send to, with commas; those of browsers are known")
	f.BoolVar(&s.Check, "check", false, "break the demo in every way, see that everybody is told once and in order, and exit")
	f.DurationVar(&s.For, "check-for", 12*time.Second, "how `long` -check makes changes")
	f.IntVar(&s.Faults, "check-faults", 25, "how many things go wrong meanwhile")
	f.Uint64Var(&s.Seed, "check-seed", uint64(time.Now().UnixNano()%1_000_000), "the `seed` of what goes wrong")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	addr := false
	f.Visit(func(f *flag.Flag) { addr = addr || f.Name == "addr" })
	s.Project.Key = getenv("PUSH_NOTIFY_KEY")
	s.Ntfy.Token, s.Ntfy.Client = getenv("PUSH_NOTIFY_NTFY_TOKEN"), http.DefaultClient
	s.WebPush.PublicKey, s.WebPush.PrivateKey = getenv("PUSH_NOTIFY_VAPID_PUBLIC"), getenv("PUSH_NOTIFY_VAPID_PRIVATE")
	s.WebPush.Client = PublicClient()
	s.WebPush.Services = append(slices.Clone(PushServices), strings.FieldsFunc(services, func(r rune) bool { return r == ',' })...)
	if err = s.verify(f.Args()); err == nil && addr && s.Project.URL != "" {
		err = fmt.Errorf("-addr is of the demo's page: give no -url")
	}
	if err != nil {
		fmt.Fprintf(errOut, "push-notify: %v; see -h\n", err)
	}
	return s, err
}

func (s Settings) verify(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is no flag", rest[0])
	case s.Project.URL != "" && s.Project.Key == "":
		return fmt.Errorf("-url needs the key in PUSH_NOTIFY_KEY")
	case s.Project.URL != "" && s.Store == "":
		return fmt.Errorf("-url needs -store: without it a restart would not know what was sent")
	case s.Project.URL != "" && s.Check:
		return fmt.Errorf("-check breaks the demo, not a project")
	case s.WebPush.PublicKey+s.WebPush.PrivateKey != "" && s.WebPush.Verify() != nil:
		return s.WebPush.Verify()
	case s.MaxAge <= 0, s.Settle <= 0, s.Rate <= 0, s.For <= 0, s.Faults < 0:
		return fmt.Errorf("durations and rates must be positive")
	}
	return nil
}
