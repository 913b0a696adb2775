package push_test

import (
	"testing"

	"github.com/gapless-go/gapless/examples/push-notify/push"
	"github.com/gapless-go/gapless/internal/secret/secrettest"
)

// Every exported type that holds a key, a token or an address of a device hides
// it in every format.
func TestPackage_NothingPrintsASecret(t *testing.T) {
	project := secrettest.Fill[push.Project]()
	values := []any{project, secrettest.Fill[push.WebPush](), secrettest.Fill[push.Ntfy](), &push.Options{Project: *project}}
	for _, v := range values {
		secrettest.Hides(t, v, false)
	}
	device := secrettest.Fill[push.Device]("Address")
	secrettest.Hides(t, device, true)
	secrettest.Complete(t, ".", append(values, device),
		"push.Notification", // whose key is for showing it once
	)
}
