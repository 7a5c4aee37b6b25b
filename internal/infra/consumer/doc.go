// Package consumer declares who handles which events, and runs it.
//
// A [Consumer] is a named set of typed handlers: its name is its consumer group
// and its identity in the processed table, so it must not change once events
// have flowed. [On] is for work in the database, [OnEffect] for work outside
// it. [Router] puts every consumer behind the same chain of middleware; the
// order of that chain is in chain.go.
package consumer
