package brokertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker"
)

// testWatermill runs Watermill's own suite with the features that the broker's
// abilities amount to.
func testWatermill(t *testing.T, s suite) {
	features := tests.Features{
		ConsumerGroups:  true,
		GuaranteedOrder: s.abilities.Ordered, // messages without a partition key share one
		Persistent:      true,
		ForceShort:      true,
	}
	open := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		b := s.open(t)
		subscriber, err := b.Subscriber(group)
		require.NoError(t, err)
		// TestPublishSubscribeInOrder leaves its subscribers open: it defers the
		// check of Close's result, not the Close.
		t.Cleanup(func() { require.NoError(t, subscriber.Close()) })
		return b.Publisher(), initializer{Subscriber: subscriber, broker: b}
	}
	// One group a test: its instances compete.
	group := unique("group")
	tests.TestPubSub(t, features,
		func(t *testing.T) (message.Publisher, message.Subscriber) { return open(t, group+"-"+safeName(t)) },
		open)
	// In this test each instance has to get everything, so each is a group.
	t.Run("TestNewSubscriberReceivesOldMessages in groups", func(t *testing.T) {
		t.Parallel()
		if !s.abilities.Replayable {
			t.Skip("the broker doesn't declare the ability Replayable")
		}
		features.NewSubscriberReceivesOldMessages = true
		tests.TestNewSubscriberReceivesOldMessages(t,
			tests.TestContext{TestID: tests.NewTestID(), Features: features},
			func(t *testing.T) (message.Publisher, message.Subscriber) { return open(t, unique("group")) })
	})
}

// safeName is the same for all calls in one test, of letters and digits.
func safeName(t *testing.T) string {
	sum := sha256.Sum256([]byte(t.Name()))
	return hex.EncodeToString(sum[:8])
}

// initializer creates the topics that Watermill's suite makes up.
type initializer struct {
	message.Subscriber
	broker broker.Broker
}

var _ message.SubscribeInitializer = initializer{}

func (i initializer) SubscribeInitialize(topic string) error {
	return i.broker.EnsureTopics(context.Background(), topic)
}
