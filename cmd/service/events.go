package main

import (
	"context"

	"example.com/millwright/internal/app"
)

type eventsCommand struct {
	Graph eventsGraph `cmd:"" help:"Show who publishes and who handles which events, and what looks like a mistake."`
}

// withDeclarations runs f with what the service has declared. It needs no
// database.
func withDeclarations(ctx context.Context, config *app.Config, to streams, f func(*app.Declarations) error) error {
	declarations, cleanup, err := app.InitializeDeclarations(ctx, *config, newLogger(*config, to.err))
	if err != nil {
		return err
	}
	defer cleanup()
	return f(declarations)
}
