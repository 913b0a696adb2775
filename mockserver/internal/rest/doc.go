// Package rest is PostgREST: its query language and its errors.
package rest
