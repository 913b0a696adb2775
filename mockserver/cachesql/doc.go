// Package cachesql has in memory what install.sql of package cache/sql adds to a
// database, for a cache that is tested against package mockserver.
package cachesql
