package consumer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A goroutine that is done takes the next handler; one that hangs keeps nobody
// waiting.
func TestCrew(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	c := crew{work: make(chan func()), over: over}
	left := make(chan struct{})
	hang := make(chan struct{})
	c.run(func() { <-hang; close(left) })
	done := make(chan struct{})
	for range 100 {
		c.run(func() { done <- struct{}{} })
		<-done
	}
	// The idle one takes what is offered without anybody new being hired.
	require.Eventually(t, func() bool {
		select {
		case c.work <- func() { close(done) }:
			return true
		default:
			return false
		}
	}, 10*time.Second, time.Millisecond)
	<-done
	close(hang)
	<-left
	close(over) // goleak finds those that don't go home
}
