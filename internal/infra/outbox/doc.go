// Package outbox publishes events if and only if the change they tell of is
// committed.
//
// [Publisher] writes each event as a row in the caller's transaction. The
// [Forwarder] hands the rows to the broker; a row leaves the outbox only when the
// broker has confirmed it, so a crash at any moment means that it is published
// again, never that it is lost. Consumers drop the duplicate (package inbox).
//
// A row's life:
//
//	waiting ──confirmed by a broker elsewhere──▶ outbox_sent ──retention──▶ gone
//	  │ ▲ └───moved, in one transaction──▶ the log of a queue in this database
//	  │ └── retry_at: failed while the broker answered; waits a little longer each time
//	  └──▶ set aside: out of attempts, or rejected; waits for an operator (Store.Resend)
//
// A row that waits holds back the later rows of its key, and no others. A broker
// that can't be reached costs no attempts: everything waits until it is back.
package outbox
