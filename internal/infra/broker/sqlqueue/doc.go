// Package sqlqueue is a message broker in a SQL database: a partitioned log in
// PostgreSQL or SQLite. It is the default broker, and the recommended one below
// a few thousand events a second.
//
// A topic has a fixed number of partitions, and a key always goes to the same
// one. A message's offset in its partition is given under the partition's lock,
// so offsets have no gaps and become visible in order. Each group has a cursor
// a partition: everything before it is done.
//
// The members of a group (subscribers, in any number of processes) share its
// partitions by leases:
//
//	free ──take (epoch+1)──▶ leased ──renew──▶ leased
//	  ▲                        │ │
//	  ├──release (drained)─────┘ └── not renewed in time: anyone may take it
//
// A cursor moves only for the owner's epoch, so a member that was stopped and
// wakes up after its lease went to another can't move it back; it stops reading
// when it finds out. What it still had in flight may be handled twice, which the
// inbox makes harmless.
//
// Within a partition, messages of different keys are in flight together, up to a
// window; those of one key are delivered one after another. A nacked message is
// delivered again after a pause and holds back its own key.
package sqlqueue
