package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"example.com/millwright/internal/events"
	"example.com/millwright/internal/infra/envelope/schema"
)

type eventsGenerate struct {
	Dir string `default:"internal/events" help:"Where the payload types are; the schemas go to schemas below it."`
}

// Run implements the command.
func (c eventsGenerate) Run(to streams) error {
	catalog, err := events.Catalog()
	if err != nil {
		return err
	}
	documents, err := schema.Generate(catalog, c.Dir)
	if err != nil {
		return err
	}
	for _, d := range documents {
		file := filepath.Join(c.Dir, "schemas", filepath.FromSlash(d.Path()))
		if written, err := os.ReadFile(file); err == nil && bytes.Equal(written, d.JSON()) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, d.JSON(), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(to.out, "wrote %s\n", file)
	}
	return nil
}
