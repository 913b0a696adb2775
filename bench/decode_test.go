package main

import (
	"bytes"
	"testing"

	"github.com/gapless-go/gapless/cdc"
)

// BenchmarkDecode is the decoding alone, on changes of which no two are alike:
// what it takes to get from the payload of a message to a typed row.
func BenchmarkDecode(b *testing.B) {
	const changes = 20_000
	var payloads [][]byte
	var texts [][]byte
	var of []*table
	size := 0
	prefix := []byte(`[null,null,"` + topic + `","postgres_changes",`)
	for i := range changes {
		c := changeAt(i)
		text, _ := c.frame()
		texts = append(texts, []byte(text))
		payloads = append(payloads, bytes.TrimPrefix([]byte(text[:len(text)-1]), prefix))
		of = append(of, c.table)
		size += len(text)
	}
	each := func(name string, decode func(i int) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size / changes))
			i, began := 0, cpuTime()
			for b.Loop() {
				if err := decode(i % changes); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.ReportMetric(float64(cpuTime()-began)/float64(i), "cpu-ns/op")
		})
	}
	each("cdc.Decode", func(i int) error {
		_, _, err := cdc.Decode(payloads[i])
		return err
	})
	m := &meter{}
	each("cdc.Decode and As", func(i int) error {
		c, _, err := cdc.Decode(payloads[i])
		if err != nil {
			return err
		}
		return m.change(c)
	})
	each("goccy", func(i int) (err error) {
		switch of[i] {
		case &payments:
			_, err = goccyRow[Payment](texts[i])
		case &orders:
			_, err = goccyRow[Order](texts[i])
		default:
			_, err = goccyRow[Product](texts[i])
		}
		return err
	})
}
