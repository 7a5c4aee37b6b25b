package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/infra/deadletter"
)

type outboxCommand struct {
	Status outboxStatus `cmd:"" help:"Show what waits to be published, and what was set aside with its error."`
	Resend outboxResend `cmd:"" help:"Give events that were set aside a fresh set of attempts."`
}

type outboxStatus struct {
	outputFlag
}

// Run implements the command.
func (c outboxStatus) Run(ctx context.Context, config *app.Config, to streams) error {
	return withTools(ctx, config, to, func(tools *app.Tools) error {
		status, err := tools.Outbox.Status(ctx)
		if err != nil {
			return err
		}
		return c.print(to.out, status, func(t *table) {
			oldest := "-"
			if status.OldestUnsent != nil {
				oldest = time.Since(*status.OldestUnsent).Round(time.Second).String() + " old"
			}
			t.row("unsent", strconv.FormatInt(status.Unsent, 10))
			t.row("oldest", oldest)
			t.row("retrying", strconv.FormatInt(status.Retrying, 10))
			t.row("set aside", strconv.Itoa(len(status.SetAside)))
			if len(status.SetAside) == 0 {
				return
			}
			t.row("")
			t.row("ID", "EVENT", "TOPIC", "KEY", "ATTEMPTS", "SET ASIDE", "ERROR")
			for _, e := range status.SetAside {
				t.row(strconv.FormatInt(e.ID, 10), e.EventType, e.Topic, short(e.PartitionKey, 36), strconv.Itoa(e.Attempts), when(e.SetAsideAt), short(e.Error, 100))
			}
		})
	})
}

type outboxResend struct {
	IDs []int64 `arg:"" optional:"" name:"id" help:"Their ids, from outbox status."`
	All bool    `help:"All that were set aside."`
}

// Run implements the command.
func (c outboxResend) Run(ctx context.Context, config *app.Config, to streams) error {
	if len(c.IDs) == 0 && !c.All {
		return fmt.Errorf("outbox resend: %w: give ids, or --all", deadletter.ErrNothingSelected)
	}
	return withTools(ctx, config, to, func(tools *app.Tools) error {
		n, err := tools.Outbox.Resend(ctx, c.IDs...)
		if err != nil {
			return err
		}
		fmt.Fprintf(to.out, "resending %s\n", count(n, "event"))
		return nil
	})
}
