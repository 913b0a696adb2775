// Package enrich joins streams of events with tables, with each other, and
// tables with tables.
package enrich
