package main

import (
	"hash/fnv"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/app/apptest"
)

// TestCrash kills the service again and again at random moments, of which some
// are while it starts, and checks that nothing is lost and nothing done twice.
func TestCrash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		on    func(*testing.T) *bundle
		kills int
		// atWork makes every so many-th kill wait until the service handles events
		// again. On a server, the partitions of one that was killed are free when
		// its leases have run out: without this, most kills would hit a service
		// that has nothing to do.
		atWork int
	}{
		"sqlite":   {onSQLite, 20, 5},
		"postgres": {onPostgres, 20, 5},
		// kfake never forgets a member that dies while it joins its group (Kafka
		// does), so here all kills hit a service at work.
		"postgres and kafka": {onKafka, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crash(t, c.on(t), c.kills, c.atWork)
		})
	}
}

func crash(t *testing.T, b *bundle, kills, atWork int) {
	random := newRandom(t)
	var current atomic.Pointer[process]
	current.Store(b.serve())
	load := apptest.Start(t, func() string { return current.Load().url() }, 8, 5*time.Millisecond)
	ledger := b.ledger()
	for kill := range kills {
		working := kill%atWork == 0
		if working {
			ledger.WaitForWork(t)
		}
		pause := time.Duration(random.Int64N(int64(600 * time.Millisecond)))
		time.Sleep(pause)
		current.Load().kill()
		t.Logf("kill %d after a pause of %s (at work: %t), %d orders accepted", kill+1, pause, working, load.Accepted())
		current.Store(b.start())
	}
	orders := load.Stop(t)
	ledger.RequireSums(t, orders)
	require.Greater(t, len(orders), kills)
	current.Load().stop()
	t.Logf("%d orders", len(orders))
}

// newRandom is seeded by the clock, and says so: to see a failure again, put its
// seed here.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	name := fnv.New64a()
	_, _ = name.Write([]byte(t.Name())) // never fails
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, name.Sum64()))
}
