package pghash_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/internal/pghash"
)

// The hashes are PostgreSQL's: select hashtextextended(left(text, n), 0).
func TestText(t *testing.T) {
	const text = "the quick brown fox, jumps"
	for n, want := range []int64{
		-6939563903564495251, 4275320112252125912, -260480641141137630, -7279885857207326198, 6850303757150371860,
		-2448769718559793396, -2413607138587029032, 9152116406072127305, -2787860562804019553, -744539420078929259,
		-1849078621283211793, 7682751335837016424, -5123255151643318826, 8874471081575356978, -7321833551707752016,
		-7098276748398416135, 5607407419629592740, 4378984968307769826, -7852856955829509261, -5837659518682209896,
		-6661192411403800220, -3655238194121653028, -3019738837785430044, 3058664002909130692, 8579921346933033772,
		-4447534387707964037, 972521979670972438,
	} {
		require.Equal(t, uint64(want), pghash.Text(text[:n], 0), "%q", text[:n])
	}
}

func TestTextSeed(t *testing.T) {
	minus := int64(-5)
	require.Equal(t, uint64(318042908993421478), pghash.Text("gapless", uint64(minus)))
	require.Equal(t, uint64(5998340481473496129), pghash.Text("gapless", 9007199254740993))
	want := int64(-150071773020461347)
	require.Equal(t, uint64(want), pghash.Text([]byte{}, 1))
}

func BenchmarkText(b *testing.B) {
	text := []byte("36:aaaaaaaa-0000-4000-8000-0000000000002:1227:2024-02-29T12:34:56.789+00:00")
	b.ReportAllocs()
	for b.Loop() {
		pghash.Text(text, 0)
	}
}
