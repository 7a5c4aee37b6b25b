package sqlqueue_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/broker/sqlqueue"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

type pub struct {
	message.Publisher
	b *sqlqueue.Broker
	t *testing.T
}

func (p pub) Publish(topic string, m ...*message.Message) error {
	if err := p.b.EnsureTopics(p.t.Context(), topic); err != nil {
		return err
	}
	return p.Publisher.Publish(topic, m...)
}

type sub struct {
	message.Subscriber
	b *sqlqueue.Broker
	t *testing.T
}

func (p sub) SubscribeInitialize(topic string) error { return p.b.EnsureTopics(p.t.Context(), topic) }

func TestPS(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		_, err := db.Migrate(t.Context(), sqlqueue.Migrations())
		require.NoError(t, err)
		cons := func(tt *testing.T, group string) (message.Publisher, message.Subscriber) {
			b := sqlqueue.New(db, sqlqueue.Config{Lease: time.Second, CloseTimeout: time.Second}, slog.Default())
			s, err := b.Subscriber(group)
			require.NoError(t, err)
			return pub{b.Publisher(), b, t}, sub{s, b, t}
		}
		tests.TestPubSub(t, tests.Features{ConsumerGroups: true, GuaranteedOrder: true, Persistent: true, NewSubscriberReceivesOldMessages: true, ForceShort: true},
			func(t *testing.T) (message.Publisher, message.Subscriber) { return cons(t, "g") }, cons)
	})
}
