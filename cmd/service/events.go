package main

import (
	"context"

	"example.com/millwright/internal/app"
)

type eventsCommand struct {
	Check    eventsCheck    `cmd:"" help:"Say what a change of the events means for those who wrote and read them."`
	Docs     eventsDocs     `cmd:"" help:"Describe all events: for people, or as an AsyncAPI document."`
	Graph    eventsGraph    `cmd:"" help:"Show who publishes and who handles which events, and what looks like a mistake."`
	Publish  eventsPublish  `cmd:"" help:"Register the schemas with the schema registry."`
	Generate eventsGenerate `cmd:"" help:"Write the JSON Schemas of the payload types: what go generate runs."`
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
