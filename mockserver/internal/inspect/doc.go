// Package inspect shows what the mock server does, and has it do things from
// outside: what passed last (Tap, Log), the page at /inspect (Inspector), and
// /mock/v1/ (Admin).
package inspect
