// Package brokertest is the conformance suite of broker.Broker: what the
// interface promises, tested the same way on every broker.
//
// A broker's package runs it from a test of its own, and adds goleak's
// VerifyTestMain, which shows that Close leaves no goroutine behind:
//
//	func TestConformance(t *testing.T) {
//		server := startServer(t)
//		brokertest.Run(t, brokertest.Harness{
//			Open:   func(t *testing.T) broker.Broker { return open(t, server) },
//			Outage: server.Outage,
//		})
//	}
//
// What a broker doesn't promise is skipped with the reason: the ability that
// Abilities doesn't declare, or the field of the Harness that is not set.
package brokertest

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
)

// Harness is what the suite has to know of a broker. Only Open is required.
type Harness struct {
	// Open opens an instance on the server under test, as one more process of a
	// service would: the instances know of each other through the server only.
	// It is called from several goroutines, and up to some twenty instances are
	// open together. The suite closes them. Let the subscribers' close timeout be
	// short (a second), as some tests let it run out.
	Open func(t *testing.T) broker.Broker

	// Outage makes the server unavailable to all instances, until end is called:
	// connections cut and refused, tables locked. Ping has to fail meanwhile. No
	// other test of the suite runs at the time.
	Outage func(t *testing.T) (end func())

	// Restart stops the server, as hard as it can be stopped, and starts it again
	// at the same place with what it has stored. No other test of the suite runs
	// at the time. It is used where the broker is Durable.
	Restart func(t *testing.T)

	// TooLarge is the size in bytes of a payload that the broker has to reject.
	// Zero says that it has no limit.
	TooLarge int

	// NackHoldsBack says why a nacked message holds back messages of other keys
	// as well, where it does: only the test that it doesn't is skipped.
	NackHoldsBack string
}

// test is one promise. It is skipped for the reason that skip returns, if any.
type test struct {
	name string
	skip func(h Harness, a broker.Abilities) string
	run  func(t *testing.T, s suite)
}

// suite is what a test gets.
type suite struct {
	Harness
	abilities broker.Abilities
}

// Run runs the suite and returns when all of it is done. The tests that
// disturb the server run first, one by one; the others in parallel. Topics and
// groups have names of their own, so the server may be in use.
func Run(t *testing.T, h Harness) {
	t.Helper()
	probe := h.Open(t)
	s := suite{Harness: h, abilities: probe.Abilities()}
	require.NoError(t, probe.Close())

	for _, test := range disturbing {
		t.Run(test.name, func(t *testing.T) { test.start(t, s) })
	}
	t.Run("Parallel", func(t *testing.T) {
		for _, test := range parallel {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.start(t, s)
			})
		}
		t.Run("Watermill", func(t *testing.T) {
			t.Parallel()
			testWatermill(t, s)
		})
	})
}

func (c test) start(t *testing.T, s suite) {
	if c.skip != nil {
		if reason := c.skip(s.Harness, s.abilities); reason != "" {
			t.Skip(reason)
		}
	}
	c.run(t, s)
}

var disturbing = []test{
	{"Outage", needsOutage, testOutage},
	{"Restart", needsRestart, testRestart},
}

var parallel = []test{
	{"AtLeastOnce", nil, testAtLeastOnce},
	{"FanOut", nil, testFanOut},
	{"Competition", nil, testCompetition},
	{"OldMessages", needsReplayable, testOldMessages},
	{"RedeliveryAfterClose", nil, testRedeliveryAfterClose},
	{"Nack", nil, testNack},
	{"NackHoldsBackItsKeyOnly", needsFreeNeighbours, testNackHoldsBackItsKeyOnly},
	{"OrderPerKey", needsOrdered, testOrderPerKey},
	{"OrderThroughNacks", needsOrdered, testOrderThroughNacks},
	{"OrderThroughRestart", needsOrdered, testOrderThroughRestart},
	{"OrderThroughRebalance", needsOrdered, testOrderThroughRebalance},
	{"Intact", nil, testIntact},
	{"TooLarge", needsLimit, testTooLarge},
	{"Lag", nil, testLag},
	{"EnsureTopics", nil, testEnsureTopics},
	{"Close", nil, testClose},
	{"CloseWaits", nil, testCloseWaits},
	{"SubscriptionEndsWithContext", nil, testSubscriptionEndsWithContext},
}

func needsOrdered(_ Harness, a broker.Abilities) string {
	return unless(a.Ordered, "the broker doesn't declare the ability Ordered")
}

func needsReplayable(_ Harness, a broker.Abilities) string {
	return unless(a.Replayable, "the broker doesn't declare the ability Replayable")
}

func needsOutage(h Harness, _ broker.Abilities) string {
	return unless(h.Outage != nil, "Harness.Outage is not set: this server can't be made unavailable")
}

func needsRestart(h Harness, a broker.Abilities) string {
	if !a.Durable {
		return "the broker doesn't declare the ability Durable"
	}
	return unless(h.Restart != nil, "Harness.Restart is not set: this server can't be restarted")
}

func needsFreeNeighbours(h Harness, _ broker.Abilities) string { return h.NackHoldsBack }

func needsLimit(h Harness, _ broker.Abilities) string {
	return unless(h.TooLarge > 0, "Harness.TooLarge is not set: the broker has no limit of size")
}

func unless(ok bool, reason string) string {
	if ok {
		return ""
	}
	return reason
}

// patience is how long the suite waits for what has to happen.
const patience = 45 * time.Second

// open opens an instance that is closed when the test ends.
func (s suite) open(t *testing.T) broker.Broker {
	t.Helper()
	b := s.Open(t)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// unique is a name that no other test uses.
func unique(kind string) string { return "brokertest-" + kind + "-" + strings.ToLower(rand.Text()) }

// newTopic creates a topic and names a group.
func newTopic(t *testing.T, b broker.Broker) (topic, group string) {
	t.Helper()
	topic = unique("topic")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, b.EnsureTopics(ctx, topic))
	return topic, unique("group")
}

// eventually waits until condition holds.
func eventually(t *testing.T, condition func() bool, what string, args ...any) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			require.FailNowf(t, "waited too long", "%s: "+what, append([]any{patience}, args...)...)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
