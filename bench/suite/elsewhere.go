package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kfake"
	"golang.org/x/sync/errgroup"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/broker/kafka"
)

// sqliteDrain drains on the embedded database.
func sqliteDrain(c contender) entry {
	return entry{c.name, func(ctx context.Context, b *bench, _ string) (_ sample, err error) {
		dir, err := os.MkdirTemp("", "millwright-bench-")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		s, err := c.open(ctx, "sqlite:"+filepath.Join(dir, "bench.db"), 1)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if err := produceAll(ctx, s, 0, b.n); err != nil {
			return nil, err
		}
		want := b.n - b.n*c.failing/100
		var handled atomic.Int64
		start := time.Now()
		stop, err := s.start(ctx, 1, func(int) { handled.Add(1) })
		if err != nil {
			return nil, err
		}
		err = await(ctx, &handled, int64(want))
		took := rate(b.n, start)
		if err = errors.Join(err, stop()); err != nil {
			return nil, err
		}
		var rows, distinct int
		err = s.(*millwright).db.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(DISTINCT event) FROM effects`).Scan(&rows, &distinct)
		if err == nil && (rows != want || distinct != want) {
			err = fmt.Errorf("%d effects of %d events, want %d", rows, distinct, want)
		}
		return took, err
	}}
}

// kafkaServers are those that KAFKA_BROKERS names: a real Kafka, if there is one.
func kafkaServers() []string {
	return strings.FieldsFunc(os.Getenv("KAFKA_BROKERS"), func(r rune) bool { return r == ',' })
}

// openKafka connects to the servers, or starts a broker in this process if there
// are none.
func openKafka(ctx context.Context, servers []string) (*kafka.Broker, func(), error) {
	stop := func() {}
	if len(servers) == 0 {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			return nil, nil, err
		}
		stop, servers = cluster.Close, cluster.ListenAddrs()
	}
	k, err := kafka.New(ctx, servers, kafka.Config{})
	if err == nil {
		err = k.EnsureTopics(ctx, "bench")
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return k, func() { _ = k.Close(); stop() }, nil
}

// kafkaPublish publishes straight from memory, so many keys at a time, as a
// relay can at best: one by one, or in lanes.
func kafkaPublish(name string, lanes int, servers []string) entry {
	return entry{name, func(ctx context.Context, b *bench, _ string) (sample, error) {
		k, stop, err := openKafka(ctx, servers)
		if err != nil {
			return nil, err
		}
		defer stop()
		start := time.Now()
		group, ctx := errgroup.WithContext(ctx)
		for lane := range lanes {
			group.Go(func() error {
				for n := lane; n < b.n; n += lanes {
					e := event(n)
					payload, err := json.Marshal(e)
					if err != nil {
						return err
					}
					m := message.NewMessageWithContext(ctx, uuid.NewString(), payload)
					m.Metadata.Set(broker.PartitionKey, e.Key)
					if err := k.Publisher().Publish("bench", m); err != nil {
						return err
					}
				}
				return nil
			})
		}
		err = group.Wait()
		return rate(b.n, start), err
	}}
}

// kafkaForward forwards from the outbox in PostgreSQL, marks included.
func kafkaForward(servers []string) entry {
	return entry{"millwright", func(ctx context.Context, b *bench, url string) (_ sample, err error) {
		s, err := variant{}.open(ctx, url, 1)
		if err != nil {
			return nil, err
		}
		m := s.(*millwright)
		defer func() { err = errors.Join(err, m.db.Close()) }()
		k, stop, err := openKafka(ctx, servers)
		if err != nil {
			return nil, err
		}
		defer stop()
		m.broker = k
		return forwardOf(ctx, b, m)
	}}
}
