-- +goose Up

-- Events written in the caller's transaction, waiting for the Forwarder: a row is
-- gone as soon as the broker has it.
CREATE TABLE outbox (
    id            integer     PRIMARY KEY AUTOINCREMENT,
    partition     integer     NOT NULL, -- what a Forwarder locks
    topic         text        NOT NULL,
    key_hash      integer     NOT NULL, -- of the key: what its partition is derived from, here and in the queue
    partition_key text        NOT NULL,
    event_id      text        NOT NULL,
    event_type    text        NOT NULL,
    metadata      text        NOT NULL, -- JSON: the message's headers
    payload       blob        NOT NULL,
    created_at    timestamp   NOT NULL,
    attempts      integer     NOT NULL DEFAULT 0,
    error         text        NOT NULL DEFAULT '',
    retry_at      timestamp, -- failed: its key waits until then
    set_aside_at  timestamp  -- gave up: its key waits for an operator
);
CREATE INDEX outbox_order ON outbox (partition, id);
CREATE INDEX outbox_held ON outbox (partition, topic, partition_key, id) WHERE retry_at IS NOT NULL OR set_aside_at IS NOT NULL;

-- Events that a broker outside this database has confirmed, until retention
-- removes them. Those for a queue in this database are in the queue's log.
CREATE TABLE outbox_sent (
    id            integer     NOT NULL,
    topic         text        NOT NULL,
    partition_key text        NOT NULL,
    event_id      text        NOT NULL,
    event_type    text        NOT NULL,
    metadata      text        NOT NULL,
    payload       blob        NOT NULL,
    created_at    timestamp   NOT NULL,
    attempts      integer     NOT NULL, -- that failed before
    sent_at       timestamp   NOT NULL,
    PRIMARY KEY (sent_at, id)
) WITHOUT ROWID;

-- One row a partition, locked by the Forwarder that works on it.
CREATE TABLE outbox_partitions (
    partition integer  PRIMARY KEY
);
INSERT INTO outbox_partitions VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9),(10),(11),(12),(13),(14),(15);

-- Which consumer has handled which event.
CREATE TABLE processed (
    consumer     text        NOT NULL,
    event_id     text        NOT NULL,
    source       text        NOT NULL,
    processed_at timestamp NOT NULL,
    PRIMARY KEY (consumer, event_id, source)
);
CREATE INDEX processed_age ON processed (processed_at);

-- Events that a consumer gave up on.
CREATE TABLE dead_letters (
    id              integer     PRIMARY KEY AUTOINCREMENT,
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
    payload         blob        NOT NULL, -- as received, byte for byte
    error           text        NOT NULL,
    error_chain     text        NOT NULL, -- JSON: [{"type": …, "message": …}], outermost first
    stack           text        NOT NULL,
    attempts        integer     NOT NULL,
    replays         integer     NOT NULL DEFAULT 0,
    first_failed_at timestamp NOT NULL,
    last_failed_at  timestamp NOT NULL,
    due_at          timestamp  , -- scheduled, replaying: not before
    claimed_by      text        NOT NULL DEFAULT '',
    claimed_until   timestamp,
    closed_at       timestamp  , -- resolved or discarded
    UNIQUE (consumer, identity)
);
CREATE INDEX dead_letters_due ON dead_letters (consumer, id) WHERE state IN ('scheduled', 'replaying');
CREATE INDEX dead_letters_list ON dead_letters (state, id);
CREATE INDEX dead_letters_closed ON dead_letters (closed_at) WHERE closed_at IS NOT NULL;

-- What operators did, append-only.
CREATE TABLE dead_letter_actions (
    id        integer     PRIMARY KEY AUTOINCREMENT,
    at        timestamp NOT NULL,
    actor     text        NOT NULL,
    action    text        NOT NULL,
    selection text        NOT NULL, -- JSON
    reason    text        NOT NULL,
    affected  bigint      NOT NULL
);

-- +goose Down
DROP TABLE dead_letter_actions;
DROP TABLE dead_letters;
DROP TABLE processed;
DROP TABLE outbox_partitions;
DROP TABLE outbox_sent;
DROP TABLE outbox;
