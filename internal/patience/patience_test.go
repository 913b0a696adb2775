package patience_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/patience"
)

var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func TestPatience_WhatNeverWorkedIsRefusedAtOnce(t *testing.T) {
	var p patience.Patience
	require.True(t, p.Refused(start))
}

func TestPatience_WhatWorkedIsRefusedWhenThatPersists(t *testing.T) {
	var p patience.Patience
	p.Worked()
	for i := range 5 { // many answers, not yet minutes
		require.False(t, p.Refused(start.Add(time.Duration(i)*time.Second)))
	}
	require.True(t, p.Refused(start.Add(3*time.Minute)))
}

func TestPatience_TwoAnswersAreTooFewHoweverFarApart(t *testing.T) {
	var p patience.Patience
	p.Worked()
	require.False(t, p.Refused(start))
	require.False(t, p.Refused(start.Add(time.Hour)))
}

func TestPatience_ASuccessForgetsRefusals(t *testing.T) {
	var p patience.Patience
	p.Worked()
	for i := range 10 {
		require.False(t, p.Refused(start.Add(time.Duration(i)*time.Hour)))
		p.Worked()
	}
}

func TestPatience_StrictWaitsForNothing(t *testing.T) {
	p := patience.Patience{Strict: true}
	p.Worked()
	require.True(t, p.Refused(start))
}
