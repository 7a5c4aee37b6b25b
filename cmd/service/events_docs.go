package main

import (
	"context"

	"example.com/millwright/internal/app"
)

type eventsDocs struct {
	Output string `short:"o" enum:"markdown,asyncapi" default:"markdown" help:"markdown or asyncapi."`
}

// Run implements the command.
func (c eventsDocs) Run(ctx context.Context, config *app.Config, to streams) error {
	return withDeclarations(ctx, config, to, func(declared *app.Declarations) error {
		if c.Output == "markdown" {
			return declared.Contract.Markdown(to.out)
		}
		document, err := declared.Contract.AsyncAPI()
		if err == nil {
			_, err = to.out.Write(document)
		}
		return err
	})
}
