package inbox

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPaceGrowsWithFastHandlersAndShrinksWithSlowOnes(t *testing.T) {
	t.Parallel()
	p := newPace(func() int { return 4 }, maxGroup)
	require.Equal(t, 4, p.groups())
	require.Equal(t, firstGroup, p.size())
	for range 10 {
		p.succeeded(p.size(), time.Duration(p.size())*time.Millisecond/10)
	}
	require.Equal(t, maxGroup, p.size())
	p.succeeded(64, 64*20*time.Millisecond)
	require.Equal(t, 5, p.size(), "five of 20ms are 100ms")
	p.succeeded(5, 5*time.Second)
	require.Equal(t, 1, p.size())
}

func TestPaceAvoidsConflicts(t *testing.T) {
	t.Parallel()
	p := newPace(func() int { return 4 }, maxGroup)
	good := func(n int) {
		for range n {
			p.succeeded(64, time.Millisecond)
		}
	}
	good(10)
	p.conflicted()
	require.Equal(t, 1, p.groups())
	require.Equal(t, 64, p.size())
	p.conflicted()
	require.Equal(t, 8, p.size())
	p.conflicted()
	require.Equal(t, 1, p.size())
	for range 10 {
		p.conflicted()
	}
	require.Equal(t, 1, p.size())
	good(maxPatience + 1)
	require.Equal(t, 2, p.size(), "carefully up again")
	good(maxPatience * 20)
	require.Equal(t, 4, p.groups())
	require.Equal(t, 64, p.size())
	p.conflicted()
	require.Equal(t, 1, p.groups())
	good(4 * patience)
	require.Equal(t, 2, p.groups(), "what is long ago is forgotten")
}

func TestPaceTakesCareAfterFailures(t *testing.T) {
	t.Parallel()
	p := newPace(func() int { return 4 }, maxGroup)
	require.False(t, p.careful())
	p.troubled()
	require.True(t, p.careful())
	p.succeeded(64, time.Millisecond)
	require.False(t, p.careful())
	for range 10 {
		p.troubled()
	}
	for range 12 {
		p.succeeded(64, time.Millisecond)
		require.True(t, p.careful())
	}
	p.succeeded(64, time.Millisecond)
	require.False(t, p.careful())
}
