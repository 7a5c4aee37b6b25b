package main

import (
	"fmt"

	"example.com/millwright/internal/app"
)

type eventsGenerate struct {
	Dir string `default:"internal/events" help:"Where the payload types are; the schemas go to schemas below it."`
}

// Run implements the command.
func (c eventsGenerate) Run(to streams) error {
	changed, err := app.GenerateSchemas(c.Dir)
	for _, file := range changed {
		fmt.Fprintf(to.out, "wrote %s\n", file)
	}
	return err
}
