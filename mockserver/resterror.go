package mockserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
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
	var pg *pgtype.Error
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

// sqlStatus is PostgREST's mapping of SQLSTATE to HTTP.
func sqlStatus(e *pgtype.Error, role string) int {
	switch {
	case e.Code == pgtype.CodeNoRight && role == "anon":
		return http.StatusUnauthorized
	case e.Code == pgtype.CodeBadParameter && strings.HasPrefix(e.Message, "role "):
		return http.StatusUnauthorized
	case e.Code == pgtype.CodeCardinality && strings.HasSuffix(e.Message, "requires a WHERE clause"):
		return http.StatusBadRequest
	}
	if status, ok := raisedStatus(e.Code); ok {
		return status
	}
	if status, ok := codeStatus[e.Code]; ok {
		return status
	}
	if status, ok := classStatus[e.Code[:min(2, len(e.Code))]]; ok {
		return status
	}
	return http.StatusBadRequest
}

// raisedStatus is the status that a function has chosen by raising PTxyz.
func raisedStatus(code string) (int, bool) {
	digits, ok := strings.CutPrefix(code, "PT")
	status, err := strconv.Atoi(digits)
	return status, ok && err == nil && status >= 200 && status < 600
}

// codeStatus and classStatus are the statuses of SQLSTATE codes and of their
// classes; all others are 400.
var (
	codeStatus = map[string]int{
		pgtype.CodeUnique: http.StatusConflict, "23503": http.StatusConflict, pgtype.CodeNoRight: http.StatusForbidden,
		pgtype.CodeUndefinedTable: http.StatusNotFound, pgtype.CodeUndefinedOp: http.StatusNotFound, pgtype.CodeCardinality: http.StatusInternalServerError,
		"25006": http.StatusMethodNotAllowed, "42P17": http.StatusInternalServerError, "P0001": http.StatusBadRequest,
		"53400": http.StatusInternalServerError, "57P01": http.StatusServiceUnavailable,
	}
	classStatus = map[string]int{
		"08": http.StatusServiceUnavailable, "09": http.StatusInternalServerError, "0L": http.StatusForbidden, "0P": http.StatusForbidden,
		"25": http.StatusInternalServerError, "28": http.StatusForbidden, "2D": http.StatusInternalServerError,
		"38": http.StatusInternalServerError, "39": http.StatusInternalServerError, "3B": http.StatusInternalServerError,
		"40": http.StatusInternalServerError, "53": http.StatusServiceUnavailable, "54": http.StatusInternalServerError,
		"55": http.StatusInternalServerError, "57": http.StatusInternalServerError, "58": http.StatusInternalServerError,
		"F0": http.StatusInternalServerError, "HV": http.StatusInternalServerError, "P0": http.StatusInternalServerError,
		"XX": http.StatusInternalServerError,
	}
)

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
