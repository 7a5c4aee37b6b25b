package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/infra/deadletter"
)

type dlqCommand struct {
	List    dlqList    `cmd:"" help:"List dead letters, the newest first."`
	Show    dlqShow    `cmd:"" help:"Show one dead letter: its cause and the event as it was received."`
	Replay  dlqReplay  `cmd:"" help:"Send dead letters back to the consumer that failed."`
	Discard dlqDiscard `cmd:"" help:"Give dead letters up for good."`
}

var errUnknownConsumer = errors.New("unknown consumer")

// withTools runs f with the operator's tools on an up-to-date schema.
func withTools(ctx context.Context, config *app.Config, to streams, f func(*app.Tools) error) error {
	tools, cleanup, err := app.InitializeTools(ctx, *config, newLogger(*config, to.err))
	if err != nil {
		return err
	}
	defer cleanup()
	if err := tools.Storage.CheckSchema(ctx); err != nil {
		return err
	}
	return f(tools)
}

func checkConsumer(tools *app.Tools, name string) error {
	var names []string
	for _, c := range tools.Consumers {
		names = append(names, c.Name())
	}
	if name == "" || slices.Contains(names, name) {
		return nil
	}
	return fmt.Errorf("--consumer %q: %w: there are %s", name, errUnknownConsumer, strings.Join(names, ", "))
}

// letterFilter is shared by the commands that select dead letters.
type letterFilter struct {
	Consumer string `help:"Only of this consumer."`
	Type     string `help:"Only of this event type."`
}

type dlqList struct {
	letterFilter
	outputFlag
	State string `enum:"dead,scheduled,replaying,resolved,discarded,all" default:"dead" help:"dead, scheduled, replaying, resolved, discarded or all."`
	Limit int64  `default:"50" help:"How many at most."`
}

// Run implements the command.
func (c dlqList) Run(ctx context.Context, config *app.Config, to streams) error {
	return withTools(ctx, config, to, func(tools *app.Tools) error {
		if err := checkConsumer(tools, c.Consumer); err != nil {
			return err
		}
		selection := deadletter.Selection{Consumer: c.Consumer, EventType: c.Type}
		if c.State != "all" {
			selection.State = deadletter.State(c.State)
		}
		letters, total, err := tools.DeadLetters.List(ctx, selection, int(max(c.Limit, 1)))
		if err != nil {
			return err
		}
		if c.Output == "table" && total == 0 {
			fmt.Fprintln(to.out, "no dead letters")
			return nil
		}
		err = c.print(to.out, letters, func(t *table) {
			t.row("ID", "STATE", "CONSUMER", "EVENT", "KEY", "ATTEMPTS", "LAST FAILED", "ERROR")
			for _, l := range letters {
				t.row(strconv.FormatInt(l.ID, 10), string(l.State), l.Consumer, eventName(l), short(l.PartitionKey, 36),
					strconv.Itoa(l.Attempts), when(l.LastFailedAt), short(l.Error, 100))
			}
		})
		if more := total - int64(len(letters)); err == nil && more > 0 && c.Output == "table" {
			fmt.Fprintf(to.out, "… and %d more: use --limit\n", more)
		}
		return err
	})
}

func eventName(l deadletter.Letter) string { return versionName(l.EventType, l.SchemaVersion) }

type dlqShow struct {
	outputFlag
	ID int64 `arg:"" help:"Its id, from dlq list."`
}

// Run implements the command.
func (c dlqShow) Run(ctx context.Context, config *app.Config, to streams) error {
	return withTools(ctx, config, to, func(tools *app.Tools) error {
		letter, err := tools.DeadLetters.Get(ctx, c.ID)
		if err != nil {
			return err
		}
		if err := c.print(to.out, letter, func(t *table) { letterRows(t, letter) }); err != nil || c.Output == "json" {
			return err
		}
		if letter.Stack != "" {
			fmt.Fprintf(to.out, "\nstack:\n%s\n", strings.TrimSpace(letter.Stack))
		}
		fmt.Fprintln(to.out, "\nevent, as received:")
		return printPayload(to.out, letter.Payload)
	})
}

func letterRows(t *table, letter deadletter.Detail) {
	t.row("id", strconv.FormatInt(letter.ID, 10))
	t.row("state", string(letter.State))
	t.row("consumer", letter.Consumer)
	t.row("topic", letter.Topic)
	t.row("event", eventName(letter.Letter))
	t.row("event id", letter.EventID)
	t.row("key", letter.PartitionKey)
	t.row("attempts", strconv.Itoa(letter.Attempts))
	t.row("replays", strconv.Itoa(letter.Replays))
	t.row("first failed", when(letter.FirstFailedAt))
	t.row("last failed", when(letter.LastFailedAt))
	t.row("error", letter.Error)
	for _, cause := range letter.Chain {
		t.row("", cause.Type+": "+cause.Message)
	}
}

// printPayload indents JSON and quotes what is not text.
func printPayload(w io.Writer, payload []byte) error {
	var indented bytes.Buffer
	if json.Indent(&indented, payload, "", "  ") == nil {
		payload = indented.Bytes()
	} else {
		payload = []byte(strconv.QuoteToGraphic(string(payload)))
	}
	_, err := fmt.Fprintf(w, "%s\n", payload)
	return err
}

// operation is shared by the commands that change dead letters.
type operation struct {
	letterFilter
	IDs []int64 `arg:"" optional:"" name:"id" help:"Their ids, from dlq list."`
	All bool    `help:"All that are dead."`
}

func (o operation) selection() deadletter.Selection {
	return deadletter.Selection{IDs: o.IDs, Consumer: o.Consumer, EventType: o.Type, All: o.All}
}

type dlqReplay struct {
	operation
	Reason string `help:"Why, for the record."`
}

// Run implements the command.
func (c dlqReplay) Run(ctx context.Context, config *app.Config, to streams) error {
	return withTools(ctx, config, to, func(tools *app.Tools) error {
		if err := checkConsumer(tools, c.Consumer); err != nil {
			return err
		}
		n, err := tools.DeadLetters.Replay(ctx, c.selection(), deadletter.Operator{Name: operatorName(), Reason: c.Reason})
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("nothing to replay: %w matches", deadletter.ErrNotFound)
		}
		fmt.Fprintf(to.out, "replaying %s: running instances pick them up, see `service dlq list --state all`\n", count(n, "dead letter"))
		return nil
	})
}

type dlqDiscard struct {
	operation
	Reason string `required:"" help:"Why, for the record."`
}

// Run implements the command.
func (c dlqDiscard) Run(ctx context.Context, config *app.Config, to streams) error {
	return withTools(ctx, config, to, func(tools *app.Tools) error {
		if err := checkConsumer(tools, c.Consumer); err != nil {
			return err
		}
		n, err := tools.DeadLetters.Discard(ctx, c.selection(), deadletter.Operator{Name: operatorName(), Reason: c.Reason})
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("nothing to discard: %w matches", deadletter.ErrNotFound)
		}
		fmt.Fprintf(to.out, "discarded %s\n", count(n, "dead letter"))
		return nil
	})
}

// operatorName is who runs the command, for the audit log.
func operatorName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}
