// Package front is where HTTP clients reach a server: the listener, answers in JSON, CORS, and the
// check of the header Host.
package front
