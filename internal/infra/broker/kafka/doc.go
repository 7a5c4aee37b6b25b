// Package kafka is the broker on Apache Kafka, through watermill-kafka.
//
// What it promises, and how:
//
//   - A confirmed message is on all in-sync replicas (acks=all), and a retry of
//     the client never writes it twice (idempotent producer).
//   - Order is kept per [broker.PartitionKey], which is the record's key: equal
//     keys share a partition, and a partition's next message is delivered only
//     after the previous one was acked. A nacked message therefore holds back
//     all the keys of its partition until it is acked.
//   - A group starts with the oldest record kept. Offsets are committed once a
//     second and when a subscriber closes: what was acked in between is
//     delivered again after a crash, and so is what is in flight while the
//     group rebalances.
//   - Any record can be read: one that another producer wrote becomes a message
//     with the record's headers as its metadata, its key as the partition key,
//     and topic/partition/offset as its UUID.
//
// Metadata becomes record headers under the same names, so that an event in a
// CloudEvents envelope follows the CloudEvents Kafka binding (structured mode
// is known by the header content-type).
package kafka
