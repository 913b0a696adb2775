package deliver_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/enrich/deliver"
)

func succeed(context.Context, deliver.None) error { return nil }

// filled makes a file with 6 keys and positions, and returns its bytes.
func filled(t *testing.T, path string) []byte {
	f, err := deliver.OpenFile(path, 100)
	require.NoError(t, err)
	for i := range 6 {
		_, err := f.Once(t.Context(), fmt.Sprint("k", i), succeed)
		require.NoError(t, err)
		require.NoError(t, f.SavePosition(t.Context(), fmt.Sprint(i)))
	}
	require.NoError(t, f.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	return whole
}

// TestFile_KeepsAnyText: keys, positions and letters of any bytes are the same
// behind a restart.
func TestFile_KeepsAnyText(t *testing.T) {
	texts := []string{"M\xfcller", "a\x00b", "\xff", "\xef\xbf\xbd", "\n", `"`, `["YQ=="]`, strings.Repeat("k", 10_000), "\u2028<&>"}
	path := filepath.Join(t.TempDir(), "store")
	for round := range 2 {
		f, err := deliver.OpenFile(path, 100)
		require.NoError(t, err)
		for _, text := range texts {
			_, before := once(t, f, text, nil)
			require.Equal(t, round == 1, before, "%q", text)
		}
		if round == 0 {
			for _, text := range texts {
				require.NoError(t, f.SavePosition(t.Context(), text))
				at, err := f.Position(t.Context())
				require.NoError(t, err)
				require.Equal(t, text, at)
				require.NoError(t, f.Bury(t.Context(), deliver.Letter{Key: "bad " + text, Position: text, Reason: text, Value: []byte(text)}))
			}
		}
		at, _ := f.Position(t.Context())
		require.Equal(t, texts[len(texts)-1], at)
		letters, err := f.Letters()
		require.NoError(t, err)
		require.Len(t, letters, len(texts))
		for i, text := range texts {
			require.Equal(t, deliver.Letter{Key: "bad " + text, Position: text, Reason: text, Value: []byte(text)}, letters[i])
		}
		require.NoError(t, f.Close())
	}
}

// TestFile_RefusesWhatIsNotItsOwn, and leaves it as it is.
func TestFile_RefusesWhatIsNotItsOwn(t *testing.T) {
	for name, content := range map[string]string{
		"a key without a newline":          "-----BEGIN PRIVATE KEY-----SECRET-----END PRIVATE KEY-----",
		"JSON without a newline":           `{"important":"configuration"}`,
		"JSON lines of another program":    "{\"user\":1}\n{\"user\":2}\n",
		"JSON lines as this package wrote": "{\"k\":\"1\"}\n{\"p\":\"2\"}\n",
		"a file of variables":              "A=1\nB=2\n",
		"a checkpoint of package cache":    "{\"format\":\"gapless cache 1\",\"rows\":1}\n{\"id\":1}\n",
		"zeros":                            string(make([]byte, 4096)),
		"another version":                  "gapless deliver 2\n",
		"a newline":                        "\n",
	} {
		path := filepath.Join(t.TempDir(), "store")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
		_, err := deliver.OpenFile(path, 10)
		require.ErrorContains(t, err, "no file of this package", name)
		require.NotContains(t, err.Error(), "SECRET")
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(got), name)
	}
	_, err := deliver.OpenFile(t.TempDir(), 10)
	require.Error(t, err)
	_, err = deliver.OpenFile(filepath.Join(t.TempDir(), "missing", "store"), 10)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestFile_CutsOnlyATornTail: a file that ends anywhere is opened and goes on, and
// one in which a bit is another is refused, whichever it is.
func TestFile_CutsOnlyATornTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	whole := filled(t, path)
	for n := range len(whole) {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		f, err := deliver.OpenFile(path, 100)
		require.NoError(t, err, "of %d bytes", n)
		lines := max(bytes.Count(whole[:n], []byte("\n"))-1, 0)
		for i := range (lines + 1) / 2 {
			_, before := once(t, f, fmt.Sprint("k", i), nil)
			require.True(t, before, "of %d bytes", n)
		}
		require.NoError(t, f.SavePosition(t.Context(), "x"))
		require.NoError(t, f.Close())
		f, err = deliver.OpenFile(path, 100)
		require.NoError(t, err)
		at, _ := f.Position(t.Context())
		require.Equal(t, "x", at)
		require.NoError(t, f.Close())
	}
	for n := range len(whole) {
		for bit := range 8 {
			flipped := bytes.Clone(whole)
			flipped[n] ^= 1 << bit
			require.NoError(t, os.WriteFile(path, flipped, 0o600))
			_, err := deliver.OpenFile(path, 100)
			require.Error(t, err, "bit %d of byte %d", bit, n)
			got, _ := os.ReadFile(path)
			require.Equal(t, flipped, got)
		}
	}
	zeros := make([]byte, 512)
	middle := len(whole) / 2
	require.NoError(t, os.WriteFile(path, bytes.Join([][]byte{whole[:middle], zeros, whole[middle:]}, nil), 0o600))
	_, err := deliver.OpenFile(path, 100)
	require.ErrorContains(t, err, "damaged")
	without := bytes.SplitAfter(whole, []byte("\n"))
	require.NoError(t, os.WriteFile(path, bytes.Join(append(without[:5:5], without[6:]...), nil), 0o600))
	_, err = deliver.OpenFile(path, 100)
	require.ErrorContains(t, err, "record 5 is damaged", "a record is missing")
	for _, tail := range [][]byte{zeros, append(bytes.Clone(zeros), "}\n"...)} { // of blocks that were not written
		require.NoError(t, os.WriteFile(path, append(bytes.Clone(whole), tail...), 0o600))
		f, err := deliver.OpenFile(path, 100)
		require.NoError(t, err)
		_, before := once(t, f, "k5", nil)
		require.True(t, before)
		require.NoError(t, f.Close())
	}
}

// TestFile_IsOfOneProcess: also of one File within a process.
func TestFile_IsOfOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	f, err := deliver.OpenFile(path, 1)
	require.NoError(t, err)
	second := func() {
		t.Helper()
		_, err = deliver.OpenFile(path, 1)
		require.ErrorIs(t, err, deliver.ErrInUse)
		require.ErrorContains(t, err, path)
	}
	second()
	first, err := os.Stat(path)
	require.NoError(t, err)
	for n := 0; ; n++ {
		once(t, f, fmt.Sprint(n), nil)
		if now, _ := os.Stat(path); !os.SameFile(first, now) {
			break
		}
	}
	second() // the file that is in its place now
	require.NoError(t, f.Close())
	f, err = deliver.OpenFile(path, 1)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestFile_AnAppendCountsThoughItCannotBeWrittenAnew: the directory is full of
// what is in the way, and each effect is acknowledged and known.
func TestFile_AnAppendCountsThoughItCannotBeWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d", "store")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	f, err := deliver.OpenFile(path, 1)
	require.NoError(t, err)
	once(t, f, "first", nil)
	require.NoError(t, os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e"))) // no file can be made beside it
	for n := range 1200 {
		once(t, f, fmt.Sprint(n), nil)
	}
	require.NoError(t, os.Rename(filepath.Join(dir, "e"), filepath.Join(dir, "d")))
	require.NoError(t, f.Close())
	f, err = deliver.OpenFile(path, 1)
	require.NoError(t, err)
	_, before := once(t, f, "1199", nil)
	require.True(t, before)
	require.NoError(t, f.Close())
}

// TestFile_SweepsWhatACrashLeft of files that were to take its place.
func TestFile_SweepsWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".store.0123456789abcdef.tmp"), nil, 0o600))
	f, err := deliver.OpenFile(filepath.Join(dir, "store"), 1)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// writeUntilKilled is the other process of TestFile_SurvivesKills: it handles keys
// and says so, a line for each effect and one for each that was acknowledged.
func writeUntilKilled(path string) {
	f, err := deliver.OpenFile(path, 1_000_000)
	if err != nil {
		fmt.Println("refused", err)
		return
	}
	first, _ := strconv.Atoi(os.Getenv("GAPLESS_TEST_FIRST"))
	for n := first; ; n++ {
		key := fmt.Sprint("key ", n)
		_, err := f.Once(context.Background(), key, func(context.Context, deliver.None) error { fmt.Println("effect", n); return nil })
		if err != nil {
			fmt.Println("failed", err)
			return
		}
		fmt.Println("done", n)
	}
}

// rounds is how many processes a test kills: few, or as many as GAPLESS_KILLS says.
func rounds(t *testing.T) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("GAPLESS_KILLS"), "20"))
	require.NoError(t, err)
	return n
}

// TestFile_SurvivesKills: two processes want one file, and both are killed. The one
// that has it loses no mark that was acknowledged, the other is told.
func TestFile_SurvivesKills(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	acknowledged, next, refused := 0, 0, 0
	start := func() (*exec.Cmd, *bufio.Scanner) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "GAPLESS_TEST_FILE="+path, fmt.Sprint("GAPLESS_TEST_FIRST=", next))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		return cmd, bufio.NewScanner(out)
	}
	for round := range rounds(t) {
		one, lines := start()
		require.True(t, lines.Scan(), "round %d", round)
		require.True(t, strings.HasPrefix(lines.Text(), "effect "), "round %d: %s", round, lines.Text())
		two, told := start()
		require.True(t, told.Scan())
		require.Contains(t, told.Text(), "refused deliver: file "+path+": "+deliver.ErrInUse.Error())
		refused++
		time.AfterFunc(time.Duration(rand.IntN(20))*time.Millisecond, func() { _ = one.Process.Kill() })
		for more := true; more; more = lines.Scan() {
			var n int
			switch what, _ := fmt.Sscanf(lines.Text(), "effect %d", &n); {
			case what == 1:
				require.Equal(t, next, n, "round %d", round)
				next++
			case lines.Text() == fmt.Sprint("done ", next-1):
				acknowledged = next
			default:
				t.Fatal(lines.Text())
			}
		}
		_ = one.Wait()
		_ = two.Wait()
		f, err := deliver.OpenFile(path, 1_000_000)
		require.NoError(t, err, "round %d", round)
		for n := range acknowledged {
			key := fmt.Sprint("key ", n)
			_, err := f.Once(t.Context(), key, func(context.Context, deliver.None) error { return errors.New("its mark was lost") })
			require.NoError(t, err, "round %d: %s", round, key)
		}
		_, err = f.Once(t.Context(), fmt.Sprint("key ", next-1), succeed) // whether it was marked or not
		require.NoError(t, err)
		acknowledged = next
		require.NoError(t, f.Close())
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	t.Logf("%d processes were killed, %d refused; %d marks, none lost", refused, refused, acknowledged)
}
