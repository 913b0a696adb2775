// Package rawjson reads parts of JSON documents as the server does, which is stricter with keys and
// more lenient with values than encoding\/json.
package rawjson
