package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
)

// In production an undeclared event is published all the same.
func TestUndeclaredEvents(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		require.Equal(t, db.Dialect() == database.Postgres, providePublisherConfig(db, nil).AllowUndeclared)
	})
}
