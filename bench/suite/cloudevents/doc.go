// Package cloudevents holds the tests that events of this project are what
// other languages' CloudEvents SDKs read, and the other way round, and the
// benchmark of the envelope beside the SDK for Go. The SDKs are no dependency of
// the service, which is why it isn't in the service's module.
package cloudevents
