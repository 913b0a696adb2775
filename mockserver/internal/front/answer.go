package front

import (
	"encoding/json"
	"net/http"
)

// WriteJSON answers with a value, or with nothing but the status for nil.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if v != nil {
		_ = json.NewEncoder(w).Encode(v) // the client is gone, or has it
	}
}

// MaxBody is the most that a request to the REST or Auth API may hold.
const MaxBody = 8 << 20

// AllowAll answers OPTIONS, for browsers.
func AllowAll(w http.ResponseWriter, r *http.Request) {
	const methods = "OPTIONS,GET,HEAD,POST,PATCH,DELETE"
	w.Header().Set("Allow", methods)
	w.Header().Set("Access-Control-Allow-Methods", methods)
	if wanted := r.Header.Get("Access-Control-Request-Headers"); wanted != "" {
		w.Header().Set("Access-Control-Allow-Headers", wanted)
	}
	w.WriteHeader(http.StatusOK)
}
