// Package sqlqueue is a message broker in a SQL database: a partitioned log in
// PostgreSQL or SQLite. It is the default broker, and the recommended one below
// a few thousand events a second.
//
// A topic has a fixed number of partitions, and a key always goes to the same
// one. A message's offset in its partition is given under the partition's lock,
// so offsets have no gaps and become visible in order. Each group has a cursor
// a partition: everything before it is done.
//
// A member is a process with the subscriptions that it has; those of one group
// share its partitions by leases:
//
//	free ──take (epoch+1)──▶ held
//	  ▲                       │
//	  ├──release (drained)────┤
//	  ├──the subscription ends┤
//	  └──its member is removed┘
//
//	member: heartbeat by heartbeat, until it leaves, or until one of them is
//	missing for so long that another member removes it
//
// A heartbeat is one statement for all subscriptions of a process. It renews the
// member by the database's clock, and brings what each of them has to know: how
// many share its group, what it holds, what is free, and how far the log reaches.
// Only when that asks for something to be done do other statements follow.
//
// A cursor moves only for its owner (a subscription) and the owner's epoch, so a
// process that was stopped and wakes up after its partitions went to another
// can't move them back. It finds out by its next heartbeat or when a cursor won't
// move, stops reading what it has lost, and joins again if it was removed. What
// it still had in flight may be handled twice, which the inbox makes harmless.
// Partitions that nobody took meanwhile are still its own: the epoch says so.
//
// Within a partition, messages of different keys are in flight together, up to a
// window; those of one key are delivered one after another. A nacked message is
// delivered again after a pause and holds back its own key.
package sqlqueue
