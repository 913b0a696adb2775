package realtime_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/memhttp"
	"github.com/gapless-go/gapless/realtime"
)

// Whatever bytes a server sends, the client neither panics nor hangs: it gives
// the socket up, or goes on.
func TestHostile_Bytes(t *testing.T) {
	length := func(first byte, n uint64) string {
		return string(binary.BigEndian.AppendUint64([]byte{first, 127}, n)) + strings.Repeat("x", 20)
	}
	for name, bytes := range map[string]string{
		"a negative length":           length(0x81, 1<<63),
		"the greatest length":         length(0x81, 1<<64-1),
		"a length that wraps":         length(0x82, 0xFFFFFFFFFFFFFFF6),
		"a length over the limit":     length(0x81, 1<<40),
		"a long control frame":        "\x89\x7e\x01\x00" + strings.Repeat("p", 256),
		"a fragmented control frame":  "\x09\x00",
		"a masked frame":              "\x81\x81abcdx",
		"an unknown opcode":           "\x83\x00",
		"reserved bits":               "\xf1\x00",
		"a continuation of nothing":   "\x80\x01x",
		"fragments without an end":    strings.Repeat("\x01\x01x", 1) + strings.Repeat("\x00\x01x", 10_000),
		"empty frames":                strings.Repeat("\x81\x00", 10_000),
		"pings":                       strings.Repeat("\x89\x01p", 1000),
		"text that is no UTF-8":       "\x81\x02\xff\xfe",
		"a close frame of one byte":   "\x88\x01x",
		"a close frame with a reason": "\x88\x0a\x03\xf4\x1b[31mred\n",
		"deep nesting":                string([]byte{0x81, 126, 0xff, 0xff}) + strings.Repeat("[", 0xffff),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ln := memhttp.Listen()
				defer ln.Close()
				go func() {
					for {
						conn, err := ln.Accept()
						if err != nil {
							return
						}
						go func() {
							defer conn.Close()
							r, err := http.ReadRequest(bufio.NewReader(conn))
							if err != nil {
								return
							}
							sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
							fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
								base64.StdEncoding.EncodeToString(sum[:]))
							go func() { _, _ = conn.Write([]byte(bytes)) }()
							for buf := make([]byte, 1000); ; {
								if _, err := conn.Read(buf); err != nil {
									return
								}
							}
						}()
					}
				}()
				client := ln.Client()
				defer client.CloseIdleConnections()
				c, err := realtime.New(realtime.Options{URL: projectURL, Key: anonKey, HTTPClient: client})
				require.NoError(t, err)
				require.NoError(t, c.Connect(t.Context()))
				time.Sleep(time.Minute)
				closeClient(t, c)
			})
		})
	}
}
