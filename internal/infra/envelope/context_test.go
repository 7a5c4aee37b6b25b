package envelope_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/envelope"
)

func TestCausedBy(t *testing.T) {
	t.Parallel()
	first := envelope.Header{ID: "1"}
	require.NoError(t, first.CausedBy(envelope.Header{}))
	require.Equal(t, envelope.Header{ID: "1", CorrelationID: "1"}, first)

	first.TraceParent = "00-trace"
	second := envelope.Header{ID: "2"}
	require.NoError(t, second.CausedBy(first))
	require.Equal(t, envelope.Header{ID: "2", CorrelationID: "1", CausationID: "1", Depth: 1, TraceParent: "00-trace"}, second)

	third := envelope.Header{ID: "3"}
	require.NoError(t, third.CausedBy(envelope.Header{ID: "x"}), "a cause from elsewhere without a correlation id")
	require.Equal(t, "x", third.CorrelationID)

	last := envelope.Header{ID: "4", Type: "a.b", SchemaVersion: 1}
	require.EqualError(t, last.CausedBy(envelope.Header{ID: "3", Depth: envelope.MaxDepth}),
		`envelope: chain of events too deep: publishing it would be number 17 in a chain of events, at most 16: do two handlers answer each other? (a.b v1, id "4")`)
}

func TestContext(t *testing.T) {
	t.Parallel()
	_, ok := envelope.FromContext(t.Context())
	require.False(t, ok)
	got, ok := envelope.FromContext(envelope.NewContext(t.Context(), envelope.Header{ID: "1"}))
	require.True(t, ok)
	require.Equal(t, "1", got.ID)
}
