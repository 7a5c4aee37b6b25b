-- +goose Up

-- Names and keys compare byte by byte (COLLATE "C"): their order means nothing to
-- people, and in a database with a language's order it would cost a library call
-- for every comparison in an index.

-- The next offset of each partition. Its lock makes offsets gapless and visible
-- in order, so a reader needs no horizon and no other transaction can stall it.
CREATE TABLE queue_partitions (
    topic       text    NOT NULL COLLATE "C",
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 20);

-- The messages.
CREATE TABLE queue_log (
    topic         text        NOT NULL COLLATE "C",
    partition     integer     NOT NULL,
    "offset"      bigint      NOT NULL,
    message_id    text        NOT NULL,
    partition_key text        NOT NULL,
    metadata      text        NOT NULL, -- JSON
    payload       bytea       NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);

-- The processes that read. One that has died is removed by whoever sees that its
-- time is over.
CREATE TABLE queue_members (
    member     text        NOT NULL COLLATE "C" PRIMARY KEY,
    seen_until timestamptz NOT NULL
);

-- What each of them reads, and so who shares a group's partitions.
CREATE TABLE queue_subscriptions (
    subscription   text NOT NULL COLLATE "C" PRIMARY KEY,
    consumer_group text NOT NULL COLLATE "C",
    topic          text NOT NULL COLLATE "C",
    member         text NOT NULL COLLATE "C" REFERENCES queue_members ON DELETE CASCADE
);
CREATE INDEX queue_subscriptions_group ON queue_subscriptions (consumer_group, topic);

-- How far each group has come, and which of its subscriptions reads the partition:
-- none if the owner is not among the subscriptions. There is no foreign key, as
-- whoever removes a member must not wait for a lock on its cursors.
CREATE TABLE queue_cursors (
    consumer_group text    NOT NULL COLLATE "C",
    topic          text    NOT NULL COLLATE "C",
    partition      integer NOT NULL,
    next_offset    bigint  NOT NULL, -- all before it are done
    owner          text    NOT NULL COLLATE "C" DEFAULT '',
    epoch          bigint  NOT NULL DEFAULT 0, -- grows with each owner: fences the old one out
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 20);

-- +goose Down
DROP TABLE queue_subscriptions, queue_members, queue_cursors, queue_log, queue_partitions;
