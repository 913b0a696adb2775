// Package rest is PostgREST: its query language, its answers and errors, and what
// may go wrong with requests.
package rest
