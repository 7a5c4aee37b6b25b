package main

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/app/apptest"
)

// takeover is how long the work of a killed instance may rest: the lease on its
// partitions (6s) and what it takes the others to notice (2s), and some time
// for a slow machine.
const takeover = 15 * time.Second

// TestInstances runs three instances on one Postgres, kills one, adds one and
// stops one, all under load.
func TestInstances(t *testing.T) {
	t.Parallel()
	b := onPostgres(t)
	processes := []*process{b.serve(), b.serve(), b.serve()}
	// The clients go from one instance to the next, as behind a load balancer
	// that hasn't noticed yet which one is gone.
	var next atomic.Int64
	var all atomic.Pointer[[]*process]
	all.Store(&processes)
	load := apptest.Start(t, func() string {
		now := *all.Load()
		return now[int(next.Add(1))%len(now)].url()
	}, 4, 30*time.Millisecond)
	ledger := b.ledger()
	apptest.Eventually(t, func() string {
		if ledger.Number(t, `SELECT COUNT(DISTINCT owner) FROM queue_cursors WHERE owner <> ''`) < 9 {
			return "not all three members of the three groups have partitions"
		}
		return ""
	})
	ledger.WaitForWork(t)

	processes[0].kill()
	killed := time.Now()
	all.Store(&[]*process{processes[1], processes[2]})
	// Enough orders, placed after the kill, to hit every partition.
	last := load.Accepted() + 200
	apptest.Eventually(t, func() string {
		if load.Accepted() < last {
			return "no orders are accepted"
		}
		return ""
	})
	placed := time.Now()
	apptest.Eventually(t, func() string {
		if ledger.Number(t, `SELECT COUNT(*) FROM orders WHERE placed_at < $1 AND confirmed_at IS NULL`, placed) > 0 {
			return "orders placed after the kill are not handled"
		}
		return ""
	})
	resumed := time.Since(killed)
	t.Logf("the work of the killed instance was resumed within %s", resumed)
	require.Less(t, resumed, takeover)

	added := b.serve()
	all.Store(&[]*process{processes[1], processes[2], added})
	apptest.Eventually(t, func() string {
		if ledger.Number(t, `SELECT COUNT(*) FROM (SELECT owner FROM queue_cursors WHERE owner <> '' GROUP BY owner HAVING COUNT(*) >= 4) AS busy`) < 9 {
			return "the instance that was added got no fair share of the partitions"
		}
		return ""
	})
	ledger.WaitForWork(t)

	all.Store(&[]*process{processes[2], added})
	processes[1].stop()
	processes[1].requireQuietLog()
	ledger.WaitForWork(t)

	ledger.RequireSums(t, load.Stop(t))
	for _, p := range []*process{processes[2], added} {
		p.stop()
		p.requireQuietLog()
	}
}
