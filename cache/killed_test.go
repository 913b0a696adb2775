package cache

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gapless-go/gapless/realtime"
)

// saved is a row of a generation. Of a checkpoint, all rows are of one.
type saved struct {
	ID, Generation int64
	Text           string
}

func savedRow(id, generation int64) saved {
	return saved{id, generation, fmt.Sprintf("%d of %d %0*d", id, generation, 1+int(generation%500), 0)}
}

func savedTable(t *testing.T, file string) *Table[int64, saved] {
	client, err := realtime.New(realtime.Options{URL: "http://127.0.0.1:1", Key: "key"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close(context.Background()) })
	table, err := New(client, "saved", func(s saved) int64 { return s.ID }, WithCheckpoint(File(file), 0))
	require.NoError(t, err)
	return table
}

const savedRows = 2000

// A process that is killed while it saves leaves the checkpoint of before or the new
// one, of which every row is right, and no lock. GAPLESS_KILLS is how often.
func TestCheckpoint_SurvivesKills(t *testing.T) {
	if file := os.Getenv("GAPLESS_KILLED"); file != "" {
		saveForEver(t, file)
	}
	kills, err := strconv.Atoi(os.Getenv("GAPLESS_KILLS"))
	if err != nil {
		kills = 5
	}
	file := filepath.Join(t.TempDir(), "rows")
	var generation int64
	for n := range kills {
		child := exec.Command(os.Args[0], "-test.run=^TestCheckpoint_SurvivesKills$")
		child.Env = append(os.Environ(), "GAPLESS_KILLED="+file)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		said, err := bufio.NewReader(out).ReadString('\n') // it has saved once
		require.NoError(t, err)
		require.Equal(t, "saving\n", said)
		time.Sleep(rand.N(60 * time.Millisecond))
		require.NoError(t, child.Process.Kill())
		_ = child.Wait()

		rows, err := savedTable(t, file).loadCheckpoint()
		require.NoError(t, err, n)
		require.Len(t, rows, savedRows)
		require.GreaterOrEqual(t, rows[0].Generation, generation)
		generation = rows[0].Generation
		for _, row := range rows {
			require.Equal(t, savedRow(row.ID, generation), row)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	require.NoError(t, err)
	require.LessOrEqual(t, len(left), 3, "the file, the lock, and what the last one was writing")
}

// saveForEver is the process that is killed.
func saveForEver(t *testing.T, file string) {
	held, err := File(file).lock()
	require.NoError(t, err)
	defer held.Close()
	table := savedTable(t, file)
	var generation int64
	if rows, err := table.loadCheckpoint(); err == nil {
		generation = rows[0].Generation
	}
	for n := 0; ; n++ {
		generation++
		for id := range int64(savedRows) {
			table.core.put(id, &entry[int64, saved]{value: savedRow(id, generation)}, CauseSnapshot)
		}
		table.step(restored)
		table.save(t.Context(), table.View())
		require.NoError(t, table.Status().CheckpointErr)
		if n == 0 {
			fmt.Println("saving")
		}
	}
}
