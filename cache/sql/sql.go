package sql

import "embed"

// Version is the version of install.sql, which rt_describe tells of what is
// installed. A function of a later version takes the arguments of this one.
const Version = 1

// Files has install.sql, uninstall.sql and anon.sql.
//
//go:embed *.sql
var Files embed.FS
