package mockserver

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/gapless-go/gapless/mockserver/internal/auth"
	"github.com/gapless-go/gapless/mockserver/internal/memdb"
	"github.com/gapless-go/gapless/mockserver/internal/pgtype"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// LoadSchema reads a Config from JSON: its Tables, Users, Messages and
// Functions. Members that it does not know are errors. Users without an id get
// one. What is wrong with a table, New says.
//
//	{
//	  "tables": [{
//	    "schema": "public",
//	    "name": "orders",
//	    "columns": [
//	      {"name": "id", "type": "int8", "default": "identity"},
//	      {"name": "owner", "type": "uuid", "not_null": true},
//	      {"name": "status", "type": "order_status", "enum": ["open", "paid"], "default": "open"},
//	      {"name": "note", "type": "text", "toast": true},
//	      {"name": "made_at", "type": "timestamptz", "default": "now()"}
//	    ],
//	    "primary_key": ["id"],
//	    "replica_identity": "full",
//	    "rls": true,
//	    "policies": {"select": {"owner": "sub"}, "insert": true},
//	    "grants": {"authenticated": ["*"]},
//	    "rows": [{"id": 1, "owner": "11111111-1111-4111-8111-111111111111"}]
//	  }],
//	  "users": [{
//	    "id": "11111111-1111-4111-8111-111111111111",
//	    "email": "ann@example.com",
//	    "password": "secret",
//	    "claims": {"app_metadata": {"team": "red"}}
//	  }],
//	  "channels": [
//	    {"topic": "room:*"},
//	    {"topic": "news", "roles": ["anon", "authenticated"], "extensions": ["broadcast"], "read_only": true},
//	    {"topic": "user:{sub}"}
//	  ],
//	  "functions": {"notify": "realtime.send"}
//	}
//
// A column's type may also be described by "domain" (the base type) or
// "composite" (columns). A default is a value, or "now()",
// "gen_random_uuid()", or "identity", which counts. The replica identity is
// "default", "full", "nothing", or "index" with "identity_columns". A policy
// is true, false, or an object of columns and the claims that they must equal,
// where "app_metadata.team" is the claim team within app_metadata. A table
// may be "unpublished". With "broadcast_changes" it has a trigger that calls
// realtime.broadcast_changes with that topic, where {owner} is the value of the
// column owner.
//
// The channels are the private ones that may be used, by the role authenticated
// unless "roles" names others. A topic may end in *, which is anything, and
// {sub} in it is the claim sub. Without the member users may use every channel.
//
// A function calls realtime.send or realtime.send_binary with the arguments
// payload, event, topic and private. The service alone may call it.
func LoadSchema(r io.Reader) (Config, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var file schemaFile
	if err := dec.Decode(&file); err != nil {
		return Config{}, fmt.Errorf("mockserver: schema: before byte %d: %w", dec.InputOffset(), err)
	}
	if end := dec.InputOffset(); dec.More() {
		return Config{}, fmt.Errorf("mockserver: schema: there is more behind byte %d", end)
	}
	var cfg Config
	for _, t := range file.Tables {
		spec, err := t.table()
		if err != nil {
			return Config{}, fmt.Errorf("mockserver: schema: table %s: %w", t.Name, err)
		}
		cfg.Tables = append(cfg.Tables, spec)
	}
	cfg.Messages = channelPolicies(file.Channels)
	var err error
	if cfg.Functions, err = schemaFunctions(file.Functions); err != nil {
		return Config{}, fmt.Errorf("mockserver: schema: %w", err)
	}
	for _, u := range file.Users {
		if u.ID == "" {
			u.ID = uuid.NewString()
		}
		cfg.Users = append(cfg.Users, auth.User(u))
	}
	return cfg, nil
}

type schemaFile struct {
	Tables    []schemaTable     `json:"tables"`
	Users     []schemaUser      `json:"users"`
	Channels  []schemaChannel   `json:"channels"`
	Functions map[string]string `json:"functions"`
}

type schemaTable struct {
	Schema          string                       `json:"schema"`
	Name            string                       `json:"name"`
	Columns         []schemaColumn               `json:"columns"`
	PrimaryKey      []string                     `json:"primary_key"`
	ReplicaIdentity string                       `json:"replica_identity"`
	IdentityColumns []string                     `json:"identity_columns"`
	Unpublished     bool                         `json:"unpublished"`
	RLS             bool                         `json:"rls"`
	Policies        schemaPolicies               `json:"policies"`
	Grants          map[string][]string          `json:"grants"`
	Broadcasts      string                       `json:"broadcast_changes"`
	Rows            []map[string]json.RawMessage `json:"rows"`
}

type schemaColumn struct {
	Name      string          `json:"name"`
	Type      string          `json:"type"`
	NotNull   bool            `json:"not_null"`
	Default   json.RawMessage `json:"default"`
	Toast     bool            `json:"toast"`
	Enum      []string        `json:"enum"`
	Domain    string          `json:"domain"`
	Composite []schemaColumn  `json:"composite"`
}

type schemaPolicies struct {
	Select *schemaPolicy `json:"select"`
	Insert *schemaPolicy `json:"insert"`
	Update *schemaPolicy `json:"update"`
	Delete *schemaPolicy `json:"delete"`
}

// schemaUser is a User with names in JSON.
type schemaUser struct {
	ID       string `json:"id"`
	Email    string `json:"email"`
	Phone    string `json:"phone"`
	Password string `json:"password"`
	Role     string `json:"role"`
	Claims   Claims `json:"claims"`
}

func (t schemaTable) table() (memdb.Table, error) {
	spec := memdb.Table{
		Schema: t.Schema, Name: t.Name, PrimaryKey: t.PrimaryKey, IdentityColumns: t.IdentityColumns,
		Unpublished: t.Unpublished, RLS: t.RLS, Grants: t.Grants,
		Select: t.Policies.Select.policy(), Insert: t.Policies.Insert.policy(),
		Update: t.Policies.Update.policy(), Delete: t.Policies.Delete.policy(),
	}
	if t.Broadcasts != "" {
		spec.AfterChange = broadcastTrigger(cmp.Or(t.Schema, "public")+"."+t.Name, t.Broadcasts)
	}
	switch t.ReplicaIdentity {
	case "", "default":
	case "full":
		spec.ReplicaIdentity = memdb.IdentityFull
	case "index":
		spec.ReplicaIdentity = memdb.IdentityIndex
	case "nothing":
		spec.ReplicaIdentity = memdb.IdentityNothing
	default:
		return spec, fmt.Errorf("%q is no replica identity", t.ReplicaIdentity)
	}
	var err error
	if spec.Columns, err = schemaColumns(t.Columns); err != nil {
		return spec, err
	}
	for _, object := range t.Rows {
		spec.Rows = append(spec.Rows, rawjson.Values(object))
	}
	return spec, nil
}

func schemaColumns(columns []schemaColumn) ([]pgtype.Column, error) {
	specs := make([]pgtype.Column, len(columns))
	for i, c := range columns {
		specs[i] = pgtype.Column{Name: c.Name, Type: c.Type, NotNull: c.NotNull, Toast: c.Toast, Enum: c.Enum, Domain: c.Domain}
		var err error
		if len(c.Composite) > 0 {
			if specs[i].Composite, err = schemaColumns(c.Composite); err != nil {
				return nil, fmt.Errorf("column %s: %w", c.Name, err)
			}
		}
		if err := setDefault(&specs[i], c.Default); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
	}
	return specs, nil
}

func setDefault(c *pgtype.Column, value json.RawMessage) error {
	switch string(value) {
	case "":
	case `"now()"`:
		c.Default = func() any { return time.Now() }
	case `"gen_random_uuid()"`:
		c.Default = func() any { return uuid.NewString() }
	case `"identity"`:
		serial := map[string]string{"int2": "smallserial", "int4": "serial", "int8": "bigserial"}
		t, err := pgtype.ParseType(*c)
		if err != nil {
			return err
		}
		if serial[t.Name()] == "" {
			return fmt.Errorf("a column of type %s does not count", c.Type)
		}
		c.Type = serial[t.Name()]
	default:
		c.Default = func() any { return rawjson.Value(value) }
	}
	return nil
}

// schemaPolicy is a policy in JSON: a boolean, or columns and the claims that
// they must equal.
type schemaPolicy struct {
	always bool
	equal  map[string]string
}

// UnmarshalJSON reads either form.
func (p *schemaPolicy) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &p.always) == nil {
		return nil
	}
	if err := json.Unmarshal(b, &p.equal); err != nil || len(p.equal) == 0 {
		return errors.New("a policy is true, false, or an object of columns and claims")
	}
	return nil
}

// policy returns the policy; nil where there is none.
func (p *schemaPolicy) policy() memdb.Policy {
	if p == nil {
		return nil
	}
	return func(claims Claims, row memdb.Row) bool {
		for column, claim := range p.equal {
			want, ok := claimText(claims, claim)
			if !ok || row[column] == nil || fmt.Sprint(row[column]) != want {
				return false
			}
		}
		return p.always || len(p.equal) > 0
	}
}

// claimText returns the text of a claim, which may stand within another one.
func claimText(claims Claims, path string) (string, bool) {
	name, inner, nested := strings.Cut(path, ".")
	switch v := claims[name].(type) {
	case map[string]any:
		if nested {
			return claimText(v, inner)
		}
	case string:
		return v, !nested
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), !nested
	case bool:
		return strconv.FormatBool(v), !nested
	}
	return "", false
}
