package deadletter

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"example.com/millwright/internal/infra/database"
)

// subscriber delivers the dead letters of a consumer that were released for
// replay or whose time has come.
type subscriber struct {
	store *Store
	name  string // of this process in the claims

	mu      sync.Mutex
	closed  bool
	closing context.Context
	close   context.CancelFunc
	open    sync.WaitGroup
}

var _ message.Subscriber = (*subscriber)(nil)

// Subscriber returns a new subscriber. Its topic is a consumer's name.
func (s *Store) Subscriber() message.Subscriber {
	sub := &subscriber{store: s, name: uuid.NewString()}
	sub.closing, sub.close = context.WithCancel(context.Background())
	return sub
}

// Subscribe implements message.Subscriber. Dead letters of different keys are
// delivered side by side, those of one key in the order in which they failed.
func (s *subscriber) Subscribe(ctx context.Context, consumer string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("deadletter: the subscriber is closed")
	}
	running, stop := context.WithCancel(ctx)
	release := context.AfterFunc(s.closing, stop)
	out := make(chan *message.Message)
	s.open.Go(func() {
		defer close(out)
		defer stop()
		defer release()
		s.run(running, consumer, out)
	})
	return out, nil
}

// Close implements message.Subscriber.
func (s *subscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	s.open.Wait()
	return nil
}

func (s *subscriber) run(ctx context.Context, consumer string, out chan<- *message.Message) {
	woken, stop := s.store.watch(consumer)
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		}
		for ctx.Err() == nil {
			letters, err := s.claim(ctx, consumer)
			if err != nil && ctx.Err() == nil {
				s.store.logger.WarnContext(ctx, "claiming replays failed", "consumer", consumer, "error", err, "retry_in", s.store.config.Poll)
			}
			if len(letters) == 0 || !s.deliver(ctx, letters, out) {
				break // the next look finds what is left
			}
		}
	}
}

// claimed is a dead letter on its way back to its consumer.
type claimed struct {
	id      int64
	key     string
	message *message.Message
}

// claim takes what is due and nobody else has claimed.
func (s *subscriber) claim(ctx context.Context, consumer string) ([]claimed, error) {
	lock := ""
	if s.store.db.Dialect() == database.Postgres {
		lock = "FOR UPDATE SKIP LOCKED"
	}
	var letters []claimed
	err := s.store.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		letters = nil
		now, err := s.store.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `
			UPDATE dead_letters SET state = 'replaying', replays = replays + 1, claimed_by = $3, claimed_until = $4
			WHERE id IN (SELECT id FROM dead_letters WHERE consumer = $2 AND `+due+` ORDER BY id LIMIT $5 `+lock+`)
			RETURNING id, partition_key, message_id, metadata, payload`,
			now, consumer, s.name, now.Add(s.store.config.Lease), s.store.config.Batch)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c claimed
			var messageID, metadata string
			var payload []byte
			if err := rows.Scan(&c.id, &c.key, &messageID, &metadata, &payload); err != nil {
				return err
			}
			c.message = message.NewMessage(messageID, payload)
			if err := json.Unmarshal([]byte(metadata), &c.message.Metadata); err != nil {
				return fmt.Errorf("dead letter %d: metadata: %w", c.id, err)
			}
			letters = append(letters, c)
		}
		return rows.Err()
	})
	return letters, err
}

// deliver hands the claimed letters out and waits for their answers. It returns
// false if one was nacked, so that the next round pauses first.
func (s *subscriber) deliver(ctx context.Context, letters []claimed, out chan<- *message.Message) bool {
	// Answers are waited for beyond ctx: their handlers are still at work.
	alive, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	release := context.AfterFunc(ctx, func() { time.AfterFunc(s.store.config.CloseTimeout, kill) })
	defer release()

	slices.SortFunc(letters, func(a, b claimed) int { return cmp.Compare(a.id, b.id) }) // RETURNING has no order
	byKey := map[string][]claimed{}
	for _, c := range letters {
		byKey[c.key] = append(byKey[c.key], c)
	}
	var keys sync.WaitGroup
	var mu sync.Mutex
	all := true
	for _, queue := range byKey {
		keys.Go(func() {
			for i, c := range queue {
				if s.deliverOne(ctx, alive, c, out) {
					continue
				}
				s.unclaim(queue[i:])
				mu.Lock()
				all = false
				mu.Unlock()
				return
			}
		})
	}
	answered := make(chan struct{})
	go func() { keys.Wait(); close(answered) }()
	renew := time.NewTicker(s.store.config.Lease / 3)
	defer renew.Stop()
	for {
		select {
		case <-answered:
			return all
		case <-renew.C:
			if err := s.renew(alive); err != nil && alive.Err() == nil {
				s.store.logger.WarnContext(ctx, "renewing claims failed", "error", err)
			}
		}
	}
}

// deliverOne returns true once the letter was acked and its outcome written.
func (s *subscriber) deliverOne(ctx, alive context.Context, c claimed, out chan<- *message.Message) bool {
	messageCtx, cancel := context.WithCancel(alive)
	defer cancel()
	c.message.SetContext(messageCtx)
	select {
	case <-ctx.Done():
		return false
	case out <- c.message:
	}
	select {
	case <-c.message.Acked():
		return s.resolve(alive, c.id)
	case <-c.message.Nacked():
		return false
	case <-alive.Done():
		return false
	}
}

// resolve closes the letter unless it failed again: the ack then means that the
// store has it back, and the claim is gone.
func (s *subscriber) resolve(ctx context.Context, id int64) bool {
	_, err := s.store.db.ExecContext(context.WithoutCancel(ctx), `
		UPDATE dead_letters SET state = 'resolved', closed_at = $1, claimed_by = '', claimed_until = NULL
		WHERE id = $2 AND state = 'replaying' AND claimed_by = $3`, time.Now(), id, s.name)
	if err != nil {
		s.store.logger.WarnContext(ctx, "closing a dead letter failed, it is replayed again", "dead_letter", id, "error", err)
	}
	return err == nil
}

func (s *subscriber) renew(ctx context.Context) error {
	return s.store.db.InTx(ctx, func(ctx context.Context, tx database.Tx) error {
		now, err := s.store.db.Now(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE dead_letters SET claimed_until = $1 WHERE claimed_by = $2 AND state = 'replaying'`,
			now.Add(s.store.config.Lease), s.name)
		return err
	})
}

// unclaim gives letters back for another round. If that fails, the claim runs
// out by itself.
func (s *subscriber) unclaim(letters []claimed) {
	for _, c := range letters {
		_, err := s.store.db.ExecContext(context.Background(), `
			UPDATE dead_letters SET claimed_by = '', claimed_until = NULL WHERE id = $1 AND claimed_by = $2`, c.id, s.name)
		if err != nil {
			s.store.logger.Warn("giving a claim back failed, it runs out by itself", "dead_letter", c.id, "error", err)
		}
	}
}
