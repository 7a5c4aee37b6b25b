package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/infra/envelope/registry"
)

type eventsPublish struct {
	outputFlag
	DryRun bool `help:"Only ask the registry whether it would take them."`
}

// Run implements the command.
func (c eventsPublish) Run(ctx context.Context, config *app.Config, to streams) error {
	return withDeclarations(ctx, config, to, func(declared *app.Declarations) error {
		return c.publish(ctx, declared.Registry, to)
	})
}

// publish publishes the schemas, or asks about them. What succeeded is printed
// also where something else failed.
func (c eventsPublish) publish(ctx context.Context, r app.Registry, to streams) error {
	if r.Client == nil {
		return fmt.Errorf("events publish: %w: SCHEMA_REGISTRY_URL is not set: give http://host:8081 or https://user:password@host", app.ErrSettings)
	}
	if c.DryRun {
		return c.check(ctx, r, to)
	}
	published, err := r.Client.Publish(ctx, r.Schemas...)
	return errors.Join(err, c.print(to.out, published, func(t *table) {
		t.row("SUBJECT", "STATE", "VERSION", "ID")
		for _, p := range published {
			state := registry.StateKnown
			if p.New {
				state = registry.StateNew
			}
			t.row(p.Subject, string(state), strconv.Itoa(p.Version), strconv.Itoa(p.ID))
		}
	}))
}

func (c eventsPublish) check(ctx context.Context, r app.Registry, to streams) error {
	verdicts, err := r.Check(ctx)
	var incompatible []string
	for _, v := range verdicts {
		if v.State == registry.StateIncompatible {
			incompatible = append(incompatible, v.Subject)
		}
	}
	if len(incompatible) > 0 {
		err = errors.Join(err, fmt.Errorf("events publish: %w: %s: make the change one that its level allows, or a new version of the event",
			registry.ErrIncompatible, strings.Join(incompatible, ", ")))
	}
	return errors.Join(err, c.print(to.out, verdicts, func(t *table) {
		t.row("SUBJECT", "STATE", "LEVEL", "REASONS")
		for _, v := range verdicts {
			t.row(v.Subject, string(v.State), cmp.Or(v.Level, "-"), cmp.Or(strings.Join(v.Reasons, "; "), "-"))
		}
	}))
}
