package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// located adds to an error of PostgreSQL the line that it is about, and its
// detail and hint.
func located(err error, sql string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	text := pg.Message
	if pg.Position > 0 {
		runes := []rune(sql)
		line := 1 + strings.Count(string(runes[:min(int(pg.Position)-1, len(runes))]), "\n")
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	for _, more := range []string{pg.Detail, pg.Hint} {
		if more != "" {
			text += " (" + more + ")"
		}
	}
	return fmt.Errorf("%s [%s]: %w", text, pg.Code, errSQL)
}

// errSQL says that SQL which was given was refused.
var errSQL = errors.New("PostgreSQL refuses it")
