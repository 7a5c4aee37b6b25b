// Package telemetry is what a running service tells about itself: logs, metrics
// and health, and the admin listener that serves the last two.
package telemetry
