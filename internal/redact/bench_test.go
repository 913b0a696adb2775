package redact_test

import (
	"strings"
	"testing"

	"github.com/gapless-go/gapless/internal/redact"
)

func BenchmarkText(b *testing.B) {
	frame := []byte(`[null,null,"realtime:orders","postgres_changes",{"ids":[1],"data":{"table":"orders","type":"INSERT","record":{"id":1,"body":"` + strings.Repeat(`a\n"`[:3], 400) + `"},"columns":[{"name":"id","type":"int8"},{"name":"body","type":"text"}],"commit_timestamp":"2026-11-23T04:00:00Z"}}]`)
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		redact.Text(frame)
	}
}
