// Package push tells people of changes to their orders.
//
//	order_events ──bell──▶ Outbox ──▶ enrich.Join ──▶ deliver.Consumer ──▶ Sender
//	     └────────rows──────▲            ▲                │      ▲
//	customers ──────────── cache.Table ──┘                ▼      │
//	devices ─────────────── cache.Table, by customer ────────────┘
//	                                              deliver.Store: done, position
//
// A trigger writes each change that somebody is to hear of into the table
// order_events, in the transaction of the change: an outbox. Realtime tells that
// there is a new row, at most once and sometimes not at all, so it is only the
// bell: the rows themselves are read from the table, in the order of their
// numbers, behind the last one that is known to be dealt with. So a change that
// Realtime lost is late by seconds, and not lost.
//
// The customer and their devices come from two caches, which cost no request. The
// consumer remembers in a file what was sent to which device, so that a restart
// goes on where the last run stopped.
//
// Without a project there is a demo: customers who order things, and a Page on
// which a browser becomes a device. What it needs of a push service, where the
// browser reaches none, is in package relay.
package push
