package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	opened struct {
		Account string `json:"account"`
		N       int    `json:"n"`
	}
	shipped struct {
		Parcel string `json:"parcel"`
	}
)

type bundle struct {
	t      testing.TB
	db     *database.DB
	out    *outbox.Publisher
	store  *outbox.Store
	broker *fakeBroker
	logger *slog.Logger
}

func setup(t testing.TB, db *database.DB) *bundle {
	t.Helper()
	c, err := envelope.NewCatalog(
		envelope.Type[opened]{Name: "accounts.opened", Version: 3, Topic: "accounts", Key: func(e opened) string { return e.Account }, Owner: "tests",
			Upcasters: nil},
		envelope.Type[shipped]{Name: "parcels.shipped", Version: 1, Topic: "parcels", Key: func(e shipped) string { return e.Parcel }, Owner: "tests"},
	)
	require.NoError(t, err)
	return &bundle{
		t: t, db: db, out: outbox.NewPublisher(db, c, "tests", outbox.PublisherConfig{}), store: outbox.NewStore(db),
		broker: &fakeBroker{}, logger: slog.New(slog.DiscardHandler),
	}
}

func (b *bundle) publish(payloads ...any) {
	b.t.Helper()
	require.NoError(b.t, b.db.InTx(b.t.Context(), func(ctx context.Context, tx database.Tx) error {
		return b.out.Publish(ctx, tx, payloads...)
	}))
}

func (b *bundle) forwarder(config outbox.Config) *outbox.Forwarder {
	return outbox.NewForwarder(b.db, b.broker, config, b.logger)
}

func (b *bundle) status() outbox.Status {
	b.t.Helper()
	status, err := b.store.Status(b.t.Context())
	require.NoError(b.t, err)
	return status
}

// fakeBroker takes messages, or refuses them as told.
type fakeBroker struct {
	mu     sync.Mutex
	taken  []string // topic/key/payload's data
	ids    []string
	refuse func(m *message.Message) error
	away   bool
}

var errAway = errors.New("connection refused")

func (f *fakeBroker) Publisher() message.Publisher { return f }

func (f *fakeBroker) Publish(topic string, messages ...*message.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range messages {
		if f.away {
			return errAway
		}
		if f.refuse != nil {
			if err := f.refuse(m); err != nil {
				return err
			}
		}
		e, err := envelope.FromMessage(m)
		if err != nil {
			return err
		}
		f.taken = append(f.taken, fmt.Sprintf("%s/%s/%s", topic, m.Metadata.Get(broker.PartitionKey), e.Data))
		f.ids = append(f.ids, m.UUID)
	}
	return nil
}

func (f *fakeBroker) set(away bool, refuse func(*message.Message) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away, f.refuse = away, refuse
}

// of lists what was taken for a key, in order.
func (f *fakeBroker) of(prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var taken []string
	for _, t := range f.taken {
		if len(t) > len(prefix) && t[:len(prefix)+1] == prefix+"/" {
			taken = append(taken, t[len(prefix)+1:])
		}
	}
	return taken
}

func (f *fakeBroker) Ping(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return errAway
	}
	return nil
}

func (f *fakeBroker) Subscriber(string) (message.Subscriber, error)      { panic("not used") }
func (f *fakeBroker) EnsureTopics(context.Context, ...string) error      { return nil }
func (f *fakeBroker) Lag(context.Context, string, string) (int64, error) { return 0, nil }
func (f *fakeBroker) Abilities() broker.Abilities                        { return broker.Abilities{} }
func (f *fakeBroker) String() string                                     { return "fake" }
func (f *fakeBroker) Close() error                                       { return nil }

func refuseKey(key string, err error) func(*message.Message) error {
	return func(m *message.Message) error {
		if m.Metadata.Get(broker.PartitionKey) == key {
			return err
		}
		return nil
	}
}

// forwardAll makes passes until nothing is due.
func forwardAll(t *testing.T, f *outbox.Forwarder) (total int) {
	t.Helper()
	for {
		n, err := f.Forward(t.Context())
		require.NoError(t, err)
		if n == 0 {
			return total
		}
		total += n
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, 5*time.Millisecond, what)
}
