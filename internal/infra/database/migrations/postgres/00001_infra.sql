-- +goose Up

-- Names and keys in indexes compare byte by byte (COLLATE "C"): their order means
-- nothing to people, and in a database with a language's order it would cost a
-- library call for every comparison.

-- Events written in the caller's transaction, waiting for the Forwarder: a row is
-- gone as soon as the broker has it. So the table is read by its one order, and
-- there is no backlog of sent rows that a bad plan could wade through.
CREATE TABLE outbox (
    partition     smallint    NOT NULL, -- what a Forwarder locks
    id            bigint      GENERATED ALWAYS AS IDENTITY,
    topic         text        NOT NULL COLLATE "C",
    key_hash      bigint      NOT NULL, -- of the key: what its partition is derived from, here and in the queue
    partition_key text        NOT NULL COLLATE "C",
    event_id      text        NOT NULL,
    event_type    text        NOT NULL,
    metadata      text        NOT NULL, -- JSON: the message's headers
    payload       bytea       NOT NULL,
    created_at    timestamptz NOT NULL,
    attempts      integer     NOT NULL DEFAULT 0,
    error         text        NOT NULL DEFAULT '',
    retry_at      timestamptz, -- failed: its key waits until then
    set_aside_at  timestamptz, -- gave up: its key waits for an operator
    PRIMARY KEY (partition, id)
);
CREATE INDEX outbox_held ON outbox (partition, topic, partition_key, id) WHERE retry_at IS NOT NULL OR set_aside_at IS NOT NULL;

-- Events that a broker outside this database has confirmed, until retention
-- removes them. Those for a queue in this database are in the queue's log.
CREATE TABLE outbox_sent (
    id            bigint      NOT NULL,
    topic         text        NOT NULL,
    partition_key text        NOT NULL,
    event_id      text        NOT NULL,
    event_type    text        NOT NULL,
    metadata      text        NOT NULL,
    payload       bytea       NOT NULL,
    created_at    timestamptz NOT NULL,
    attempts      integer     NOT NULL, -- that failed before
    sent_at       timestamptz NOT NULL,
    PRIMARY KEY (sent_at, id)
);

-- One row a partition, locked by the Forwarder that works on it.
CREATE TABLE outbox_partitions (
    partition smallint PRIMARY KEY
);
INSERT INTO outbox_partitions SELECT generate_series(0, 15);

-- Which consumer has handled which event.
CREATE TABLE processed (
    consumer     text        NOT NULL COLLATE "C",
    event_id     text        NOT NULL COLLATE "C",
    source       text        NOT NULL COLLATE "C",
    processed_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, event_id, source)
);
CREATE INDEX processed_age ON processed (processed_at);

-- Events that a consumer gave up on.
CREATE TABLE dead_letters (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer        text        NOT NULL,
    identity        text        NOT NULL, -- event id and source, or a digest of what can't be read
    state           text        NOT NULL CHECK (state IN ('scheduled', 'dead', 'replaying', 'resolved', 'discarded')),
    topic           text        NOT NULL,
    event_id        text        NOT NULL,
    event_type      text        NOT NULL,
    schema_version  integer     NOT NULL,
    partition_key   text        NOT NULL,
    message_id      text        NOT NULL,
    metadata        text        NOT NULL, -- JSON, as received
    payload         bytea       NOT NULL, -- as received, byte for byte
    error           text        NOT NULL,
    error_chain     text        NOT NULL, -- JSON: [{"type": …, "message": …}], outermost first
    stack           text        NOT NULL,
    attempts        integer     NOT NULL,
    replays         integer     NOT NULL DEFAULT 0,
    first_failed_at timestamptz NOT NULL,
    last_failed_at  timestamptz NOT NULL,
    due_at          timestamptz, -- scheduled, replaying: not before
    claimed_by      text        NOT NULL DEFAULT '',
    claimed_until   timestamptz,
    closed_at       timestamptz, -- resolved or discarded
    UNIQUE (consumer, identity)
);
CREATE INDEX dead_letters_due ON dead_letters (consumer, id) WHERE state IN ('scheduled', 'replaying');
CREATE INDEX dead_letters_list ON dead_letters (state, id);
CREATE INDEX dead_letters_closed ON dead_letters (closed_at) WHERE closed_at IS NOT NULL;

-- What operators did, append-only.
CREATE TABLE dead_letter_actions (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    actor     text        NOT NULL,
    action    text        NOT NULL,
    selection text        NOT NULL, -- JSON
    reason    text        NOT NULL,
    affected  bigint      NOT NULL
);

-- +goose Down
DROP TABLE dead_letter_actions, dead_letters, processed, outbox_partitions, outbox_sent, outbox;
