package mockserver

import "github.com/gapless-go/gapless/mockserver/internal/pgtype"

// The types of tables, which the database in memory defines.
type (
	Column = pgtype.Column
	Error  = pgtype.Error
)
