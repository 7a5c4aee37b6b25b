// Package app is what the service is made of: its settings, how its parts are
// put together (wire.go), and how they start and stop (service.go).
package app
