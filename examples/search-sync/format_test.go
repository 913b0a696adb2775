package main

import (
	"testing"

	"github.com/gapless-go/gapless/internal/secret/secrettest"
)

func TestPackage_NothingPrintsASecret(t *testing.T) {
	values := []any{secrettest.Fill[Project](), secrettest.Fill[SinkOptions]()}
	for _, v := range values {
		secrettest.Hides(t, v, false)
	}
	secrettest.Complete(t, ".", values)
}
