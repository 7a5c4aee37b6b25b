package main

import (
	"context"
	"fmt"

	"example.com/millwright/internal/app"
)

type migrateCommand struct{}

// Run implements the command.
func (migrateCommand) Run(ctx context.Context, config *app.Config, to streams) error {
	storage, cleanup, err := app.OpenStorage(ctx, *config)
	if err != nil {
		return err
	}
	defer cleanup()
	applied, err := storage.Migrate(ctx)
	for _, name := range applied {
		fmt.Fprintf(to.out, "applied %s\n", name)
	}
	if err == nil && len(applied) == 0 {
		fmt.Fprintln(to.out, "the schema is up to date")
	}
	return err
}
