package mockserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// restError is an answer of the REST API that is an error: PostgREST's status
// and its four members.
type restError struct {
	status  int
	Code    string  `json:"code"`
	Details *string `json:"details"`
	Hint    *string `json:"hint"`
	Message string  `json:"message"`

	challenge    string // WWW-Authenticate
	contentRange string
}

// Error makes it an error.
func (e *restError) Error() string { return e.Code + " " + e.Message }

func refuse(status int, code, format string, args ...any) *restError {
	return &restError{status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *restError) details(format string, args ...any) *restError {
	details := fmt.Sprintf(format, args...)
	e.Details = &details
	return e
}

func (e *restError) hint(hint string) *restError {
	e.Hint = &hint
	return e
}

// notImplemented is PostgREST's answer to what it does not do either; here it
// stands for what only this server does not do.
func notImplemented(what string) *restError {
	return refuse(http.StatusBadRequest, "PGRST127", "Feature not implemented").details("%s", what)
}

// asRESTError gives an error its status. Roles other than anon are known to be
// somebody, so that a missing right is not answered with 401.
func asRESTError(err error, role string) *restError {
	var rest *restError
	var pg *Error
	switch {
	case errors.As(err, &rest):
		return rest
	case !errors.As(err, &pg):
		return refuse(http.StatusInternalServerError, "XX000", "%v", err)
	}
	e := refuse(sqlStatus(pg, role), pg.Code, "%s", pg.Message)
	if pg.Detail != "" {
		e.Details = &pg.Detail
	}
	if pg.Hint != "" {
		e.Hint = &pg.Hint
	}
	if e.status == http.StatusUnauthorized {
		e.challenge = "Bearer"
	}
	return e
}

// sqlStatus is PostgREST's mapping of SQLSTATE to HTTP, as far as this server
// has the errors.
func sqlStatus(e *Error, role string) int {
	switch {
	case e.Code == codeUnique:
		return http.StatusConflict
	case e.Code == codeNoRight && role == "anon":
		return http.StatusUnauthorized
	case e.Code == codeNoRight:
		return http.StatusForbidden
	case e.Code == codeBadParameter && strings.HasPrefix(e.Message, "role "):
		return http.StatusUnauthorized
	case e.Code == codeUndefinedTable, e.Code == codeUndefinedOp:
		return http.StatusNotFound
	case e.Code == codeCardinality && strings.HasSuffix(e.Message, "requires a WHERE clause"):
		return http.StatusBadRequest
	case e.Code == codeCardinality, strings.HasPrefix(e.Code, "40"), strings.HasPrefix(e.Code, "54"), strings.HasPrefix(e.Code, "55"):
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

func (e *restError) write(w http.ResponseWriter, body bool) {
	if e.challenge != "" {
		w.Header().Set("WWW-Authenticate", e.challenge)
	}
	if e.contentRange != "" {
		w.Header().Set("Content-Range", e.contentRange)
	}
	var v any = e
	if !body {
		v = nil
	}
	writeJSON(w, e.status, v)
}

// writeJSON answers with a value, or with nothing but the status for nil.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	if v != nil {
		_ = json.NewEncoder(w).Encode(v) // the client is gone, or has it
	}
}
