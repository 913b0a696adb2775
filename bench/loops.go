package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"

	"github.com/coder/websocket"
	"github.com/goccy/go-json"
)

const readSize = 64 << 10

// dial connects and joins, as the smallest of clients does. With bigReads the
// connection is read 64 KiB at a time, where the library reads 4.
func dial(url string, bigReads bool) (*websocket.Conn, error) {
	ctx := context.Background()
	transport := &http.Transport{}
	if bigReads {
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return &bigReader{Conn: conn}, err
		}
	}
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(1 << 20)
	return conn, conn.Write(ctx, websocket.MessageText, []byte(`["1",null,"`+topic+`","phx_join",{}]`))
}

// bigReader is a connection that is read in large pieces.
type bigReader struct {
	net.Conn
	buf  [readSize]byte
	r, w int
}

func (b *bigReader) Read(p []byte) (int, error) {
	if b.r == b.w {
		n, err := b.Conn.Read(b.buf[:])
		b.r, b.w = 0, n
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, b.buf[b.r:b.w])
	b.r += n
	return n, nil
}

// readLoop is the bar: what a program does that reads frames and no more.
func readLoop(url string, m *meter) error {
	conn, err := dial(url, false)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	for !m.done() {
		if _, _, err := conn.Read(context.Background()); err != nil {
			return err
		}
		m.got++
	}
	return nil
}

// readerLoop reads frames as cheaply as the library lets it.
func readerLoop(url string, m *meter) error {
	return eachFrame(url, m, func([]byte) error { m.got++; return nil })
}

// goccyLoop is a careful loop by hand for these three tables, with no queue, no
// reconnecting and no columns. The end of a frame tells of which table it is.
func goccyLoop(url string, m *meter) error {
	m.decodes = true
	return eachFrame(url, m, m.goccy)
}

func (m *meter) goccy(text []byte) error {
	i := bytes.LastIndexByte(text, '[')
	binding, err := strconv.Atoi(string(bytes.TrimSuffix(text[i+1:], []byte("]}]"))))
	switch {
	case err != nil:
		return err
	case binding == payments.binding:
		r, err := goccyRow[Payment](text)
		return errors.Join(err, m.event(r.ID, r.SentAt, r.Total))
	case binding == orders.binding:
		r, err := goccyRow[Order](text)
		return errors.Join(err, m.event(r.ID, r.SentAt, r.Total))
	default:
		r, err := goccyRow[Product](text)
		return errors.Join(err, m.event(r.ID, r.SentAt, r.Total))
	}
}

// goccyRow returns the row of a change: the new one, or that which is gone.
func goccyRow[T any](text []byte) (row T, err error) {
	body, ok := bytes.CutPrefix(text, []byte(`[null,null,"`+topic+`","postgres_changes",`))
	if !ok {
		return row, errors.New("a frame that is no change")
	}
	var p struct {
		Data struct {
			Type     string `json:"type"`
			Schema   string `json:"schema"`
			Table    string `json:"table"`
			Commited string `json:"commit_timestamp"`
			Record   T      `json:"record"`
			Old      T      `json:"old_record"`
		} `json:"data"`
		IDs []int64 `json:"ids"`
	}
	err = json.Unmarshal(body[:len(body)-1], &p)
	if p.Data.Type == "DELETE" {
		return p.Data.Old, err
	}
	return p.Data.Record, err
}

func eachFrame(url string, m *meter, take func(text []byte) error) error {
	conn, err := dial(url, true)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	var buf bytes.Buffer
	for !m.done() {
		_, r, err := conn.Reader(context.Background())
		if err != nil {
			return err
		}
		buf.Reset()
		if _, err := buf.ReadFrom(r); err != nil {
			return err
		}
		if err := take(buf.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
