// Package outbox publishes events if and only if the change they tell of is
// committed.
//
// [Publisher] writes each event as a row in the caller's transaction. The
// [Forwarder] reads the rows and publishes them to the broker; a row is marked
// sent only when the broker has confirmed it, so a crash at any moment means
// that it is published again, never that it is lost. Consumers drop the
// duplicate (package inbox).
//
// A row's life:
//
//	unsent ──confirmed──▶ sent ──retention──▶ gone
//	  │ ▲
//	  │ └── retry_at: failed while the broker answered; waits a little longer each time
//	  └──▶ set aside: out of attempts, or rejected; waits for an operator (Store.Resend)
//
// A row that waits holds back the later rows of its key, and no others. A broker
// that can't be reached costs no attempts: everything waits until it is back.
package outbox
