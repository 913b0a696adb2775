package push

import "sync/atomic"

// Counters is what became of events and notifications. It may be read at any
// time.
type Counters struct {
	Sent    atomic.Uint64 // notifications that a service has taken
	Retried atomic.Uint64 // tries that failed
	TooOld  atomic.Uint64 // events that nobody wanted any more
	Nobody  atomic.Uint64 // events of customers without a device
	Gone    atomic.Uint64 // devices that are no more
	Refused atomic.Uint64 // notifications that no try would have brought
	Buried  atomic.Uint64 // dead letters in the store
	// Behind is how often events did not wait for the caches any longer, and went
	// to the devices that were known before.
	Behind atomic.Uint64
}
