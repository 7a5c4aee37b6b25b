// Package envelope is the form in which an event travels: a CloudEvents 1.0
// envelope whose type and schema version are looked at before its payload is.
//
// On the way out an [Envelope] is encoded in CloudEvents' structured JSON mode
// (application/cloudevents+json). On the way in the binary mode is read as
// well, so that other languages' CloudEvents SDKs can take part. Of an event that
// is passed on, the payload and the attributes that this build doesn't know stay
// as they came, byte for byte; what isn't UTF-8, or says two things at once, is
// refused.
// Specification: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
//
// The [Catalog] lists the event types: name, current version, topic, key and
// the upcasters that turn older payloads into the current type. A handler gets
// an [Event] with the payload already decoded and upcast.
//
// Everything that can be wrong with an event has its own error. All of them are
// permanent: the same bytes fail the same way until another build reads them.
package envelope
