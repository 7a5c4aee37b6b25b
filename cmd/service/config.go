package main

import (
	"fmt"

	"example.com/millwright/internal/app"
)

type configCommand struct {
	outputFlag
}

// Run implements the command.
func (c configCommand) Run(config *app.Config, to streams) error {
	settings := config.Settings()
	return c.print(to.out, settings, func(t *table) {
		t.row("VARIABLE", "VALUE", "")
		for _, s := range settings {
			origin := ""
			if s.Value == s.Default || s.Value == "" {
				origin = "(default)"
			}
			t.row(s.Variable, s.Value, origin)
		}
	})
}

// outputFlag is shared by the commands that print lists.
type outputFlag struct {
	Output string `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

func count(n int64, what string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
