package sqlqueue

import (
	"context"
	"slices"
	"time"

	"example.com/millwright/internal/infra/database"
)

// span is what a reader wants: offsets from low up to, not including, high.
type span struct {
	reader    *reader
	low, high int64
}

// wantMore wakes the fetcher for a reader that asks.
func (s *subscription) wantMore() { poke(s.wanted) }

// fetch reads ahead for all readers that ask, with one statement for as many as
// ask at the time: few when there is much to do, and one when there is little.
func (s *subscription) fetch() {
	for {
		select {
		case <-s.running.Done():
			return
		case <-s.wanted:
		}
		spans := s.spans()
		if len(spans) == 0 {
			continue
		}
		entries, err := s.read(s.running, spans)
		if err != nil {
			if s.running.Err() != nil {
				return
			}
			s.logger.WarnContext(s.running, "reading messages failed", "error", err, "retry_in", s.broker.config.Poll)
			for _, span := range spans {
				span.reader.asking.Store(true)
			}
			time.AfterFunc(s.broker.config.Poll, s.wantMore)
			continue
		}
		for _, span := range spans {
			// There is room: a reader asks again only after the answer.
			span.reader.fetched <- span.reader.accept(entries[span.reader.partition], span.high)
		}
	}
}

func (s *subscription) spans() []span {
	s.mu.Lock()
	defer s.mu.Unlock()
	var spans []span
	for _, r := range s.readers {
		if r.asking.Swap(false) && r.running.Err() == nil {
			spans = append(spans, r.span())
		}
	}
	return spans
}

const columns = `l."offset", l.message_id, l.partition_key, l.metadata, l.payload`

// read returns the spans' messages by partition, in the order of the log.
func (s *subscription) read(ctx context.Context, spans []span) (map[int][]*entry, error) {
	select {
	case s.broker.reads <- struct{}{}:
		defer func() { <-s.broker.reads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	entries := make(map[int][]*entry, len(spans))
	if s.broker.db.Dialect() == database.Postgres {
		partitions, lows, highs := make([]int64, len(spans)), make([]int64, len(spans)), make([]int64, len(spans))
		for i, span := range spans {
			partitions[i], lows[i], highs[i] = int64(span.reader.partition), span.low, span.high
		}
		err := s.scan(ctx, entries, `
			SELECT s.partition, l.* FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS s(partition, low, high) CROSS JOIN LATERAL (
				SELECT `+columns+` FROM queue_log l
				WHERE l.topic = $1 AND l.partition = s.partition AND l."offset" >= s.low AND l."offset" < s.high
				ORDER BY l."offset" LIMIT s.high - s.low) AS l`, s.topic, partitions, lows, highs)
		return entries, err
	}
	for _, span := range spans { // SQLite has no LATERAL, and no round trips either
		err := s.scan(ctx, entries, `
			SELECT l.partition, `+columns+` FROM queue_log l
			WHERE l.topic = $1 AND l.partition = $2 AND l."offset" >= $3 AND l."offset" < $4 ORDER BY l."offset"`,
			s.topic, span.reader.partition, span.low, span.high)
		if err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func (s *subscription) scan(ctx context.Context, entries map[int][]*entry, query string, args ...any) error {
	err := s.broker.db.ReadByIndex(ctx, func(scan func(...any) error) error {
		var partition int
		e := &entry{}
		if err := scan(&partition, &e.offset, &e.id, &e.key, &e.metadata, &e.payload); err != nil {
			return err
		}
		entries[partition] = append(entries[partition], e)
		return nil
	}, query, args...)
	for _, of := range entries {
		slices.SortFunc(of, func(a, b *entry) int { return int(a.offset - b.offset) })
	}
	return err
}
