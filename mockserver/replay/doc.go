// Package replay records the conversations of clients with a project and plays them.
//
// A Recorder is a proxy between any client and any project, this module's mock
// server or a real one, that writes a transcript: frames, the lives of sockets,
// requests and answers, without keys and tokens. A Player plays the server's side of
// a transcript to a client that behaves as the recorded one did, and returns the
// first difference. So a session with a real project becomes a test that needs none.
package replay
