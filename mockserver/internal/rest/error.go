package rest

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/project"
)

// AsRefusal gives an error its status. Roles other than anon are known to be
// somebody, so that a missing right is not answered with 401.
func AsRefusal(err error, role string) *project.Refusal {
	var rest *project.Refusal
	var pg *pgtype.Error
	switch {
	case errors.As(err, &rest):
		return rest
	case errors.Is(err, project.ErrUnavailable):
		return NoConnection("connection to server failed")
	case !errors.As(err, &pg):
		return project.Refuse(http.StatusInternalServerError, "XX000", "%v", err)
	}
	e := project.Refuse(sqlStatus(pg, role), pg.Code, "%s", pg.Message)
	if pg.Detail != "" {
		e.Details = &pg.Detail
	}
	if pg.Hint != "" {
		e.Hint = &pg.Hint
	}
	if e.Status == http.StatusUnauthorized {
		e.Challenge = "Bearer"
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

func WriteRefusal(w http.ResponseWriter, e *project.Refusal, body bool) {
	if e.Challenge != "" {
		w.Header().Set("WWW-Authenticate", e.Challenge)
	}
	if e.ContentRange != "" {
		w.Header().Set("Content-Range", e.ContentRange)
	}
	var v any = e
	if !body {
		v = nil
	}
	front.WriteJSON(w, e.Status, v)
}

// NoConnection is PostgREST's answer while it has no database.
func NoConnection(details string) *project.Refusal {
	return project.Refuse(http.StatusServiceUnavailable, "PGRST000", "Database connection error. Retrying the connection.").WithDetails("%s", details)
}
