// Package registry publishes the JSON Schemas of events to a schema registry
// that speaks Confluent's API, and asks it whether a changed one is compatible.
//
// Other teams find the schemas there. This service doesn't need the registry to
// publish or to read an event: an outage of it stops nobody, unless
// [Config].Required asks for a check at the start.
//
// What holds the versions of a schema is called a subject there. Which subject
// an event's schema belongs to is a [Strategy]'s choice. A registry gives a
// version number of its own to each different text under a subject; it is not
// the schema version of the event.
//
// API: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
package registry
