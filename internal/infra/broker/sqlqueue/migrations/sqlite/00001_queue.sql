-- +goose Up

-- The next offset of each partition. Its lock makes offsets gapless and visible
-- in order, so a reader needs no horizon and no other transaction can stall it.
CREATE TABLE queue_partitions (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)
);

-- The messages.
CREATE TABLE queue_log (
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    "offset"      bigint      NOT NULL,
    message_id    text        NOT NULL,
    partition_key text        NOT NULL,
    metadata      text        NOT NULL, -- JSON
    payload       blob        NOT NULL,
    created_at    timestamp   NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);

-- The processes that read. One that has died is removed by whoever sees that its
-- time is over.
CREATE TABLE queue_members (
    member     text      NOT NULL PRIMARY KEY,
    seen_until timestamp NOT NULL
);

-- What each of them reads, and so who shares a group's partitions.
CREATE TABLE queue_subscriptions (
    subscription   text NOT NULL PRIMARY KEY,
    consumer_group text NOT NULL,
    topic          text NOT NULL,
    member         text NOT NULL REFERENCES queue_members ON DELETE CASCADE
);
CREATE INDEX queue_subscriptions_group ON queue_subscriptions (consumer_group, topic);

-- How far each group has come, and which of its subscriptions reads the partition:
-- none if the owner is not among the subscriptions. There is no foreign key, as
-- whoever removes a member must not wait for a lock on its cursors.
CREATE TABLE queue_cursors (
    consumer_group text    NOT NULL,
    topic          text    NOT NULL,
    partition      integer NOT NULL,
    next_offset    bigint  NOT NULL, -- all before it are done
    owner          text    NOT NULL DEFAULT '',
    epoch          bigint  NOT NULL DEFAULT 0, -- grows with each owner: fences the old one out
    PRIMARY KEY (consumer_group, topic, partition)
);

-- +goose Down
DROP TABLE queue_subscriptions;
DROP TABLE queue_members;
DROP TABLE queue_cursors;
DROP TABLE queue_log;
DROP TABLE queue_partitions;
