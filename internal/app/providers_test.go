package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/database/databasetest"
	"example.com/millwright/internal/infra/envelope/schema"
)

// In production an undeclared event is published all the same, and one that doesn't
// match its schema is not looked at.
func TestPublisherIsStrictInDevelopment(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		production := db.Dialect() == database.Postgres
		for validate, want := range map[string]bool{validateAuto: !production, validateOn: true, validateOff: false} {
			config := providePublisherConfig(Config{ValidatePayloads: validate}, db, &schema.Set{}, nil)
			require.Equal(t, production, config.AllowUndeclared)
			require.Equal(t, want, config.Validate != nil, validate)
		}
	})
}
