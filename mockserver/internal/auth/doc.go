// Package auth verifies and signs the tokens of a project, in the words that each
// part of the server has for what is wrong with one.
package auth
