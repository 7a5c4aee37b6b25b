// Package deadletter keeps the events that a consumer gave up on, with their
// cause, and sends them back to that consumer when someone has removed it.
//
// [Store.Middleware] is Watermill's PoisonQueue with the [Store] as its
// publisher. The event is stored byte for byte as it was received; if even that
// fails, the message is nacked and the broker keeps it.
//
// The store is a subscriber as well ([Store.Subscriber]): a replayed event comes
// back through the same chain of middleware, to the consumer that failed and no
// other.
//
// A dead letter's states:
//
//	            ┌──────────fails again──────────┐
//	            ▼                               │
//	(gave up) dead ──Replay──▶ replaying ──▶ handled: resolved ──retention──▶ gone
//	            │                   ▲
//	            └──Discard──▶ discarded, likewise gone after a while
//
// scheduled is replaying with a time before which it doesn't start. One event has
// one dead letter a consumer, however often it fails.
package deadletter
