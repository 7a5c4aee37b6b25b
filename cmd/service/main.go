// Command service runs the service and the tools of its operators.
//
//	service [serve]      run it (the default)
//	service migrate      bring the database schema up to date
//	service dlq …        list, show, replay and discard dead letters
//	service outbox …     see and resend events that could not be published
//	service events …     generate, check and publish the events' schemas, draw who handles what
//	service config       print the settings in effect
//	service version      print what was built
//
// Exit codes: 0 done; 1 failed; 2 wrong command line or settings; 3 what was
// asked for doesn't exist.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"strconv"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/infra/deadletter"
	"example.com/millwright/internal/infra/outbox"
)

// Exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli is the command line. Its settings are read from the environment too.
type cli struct {
	Settings settings `embed:"" group:"Settings"`

	Serve   serveCommand   `cmd:"" default:"withargs" help:"Run the service (the default)."`
	Migrate migrateCommand `cmd:"" help:"Bring the database schema up to date."`
	DLQ     dlqCommand     `cmd:"" name:"dlq" help:"Dead letters: the events that a consumer gave up on."`
	Outbox  outboxCommand  `cmd:"" help:"The outbox: events on their way to the broker."`
	Events  eventsCommand  `cmd:"" help:"The contracts of the events: schemas, checks, who publishes and handles what."`
	Config  configCommand  `cmd:"" help:"Print the settings in effect, secrets masked."`
	Version versionCommand `cmd:"" help:"Print what was built."`
}

// settings are the Config without its methods: kong would call Validate itself
// and stop there, before the values that can't be read are reported.
type settings app.Config

// streams are where a command writes.
type streams struct{ out, err io.Writer }

// exit is panicked by kong after --help and recovered by run.
type exit int

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		if p := recover(); p != nil {
			asked, ok := p.(exit)
			if !ok {
				panic(p)
			}
			code = int(asked)
		}
	}()
	var c cli
	config := (*app.Config)(&c.Settings)
	var values lenient
	parser, err := kong.New(&c,
		kong.Name("service"),
		kong.Description("An event-driven service. Settings come from flags, then environment variables, then defaults."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.KindMapper(reflect.Int, kong.MapperFunc(values.integer)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(values.duration)),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(config, streams{stdout, stderr}),
	)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "service: %v\nRun `service --help` for the commands and settings.\n", err)
		return exitUsage
	}
	if err := errors.Join(errors.Join(values.problems...), config.Validate()); err != nil {
		fmt.Fprintf(stderr, "service: the settings are wrong:\n%v\n", err)
		return exitUsage
	}
	if err := command.Run(); err != nil {
		fmt.Fprintf(stderr, "service: %v\n", err)
		return exitCode(err)
	}
	return exitDone
}

// exitCode is the one place that turns an error into an exit code.
func exitCode(err error) int {
	switch {
	case errors.Is(err, app.ErrSettings), errors.Is(err, deadletter.ErrNothingSelected), errors.Is(err, errUnknownConsumer), errors.Is(err, errNotMerged):
		return exitUsage
	case errors.Is(err, deadletter.ErrNotFound), errors.Is(err, outbox.ErrNotSetAside):
		return exitNotFound
	}
	return exitFailed
}

// lenient reads numbers and durations and gathers what can't be read, so that
// all wrong settings are reported together.
type lenient struct{ problems []error }

func (l *lenient) read(ctx *kong.DecodeContext, target reflect.Value, what string, parse func(string) (int64, error)) error {
	token, err := ctx.Scan.PopValue(what)
	if err != nil {
		return err
	}
	text := fmt.Sprint(token.Value)
	n, err := parse(text)
	if err != nil {
		name := "--" + ctx.Value.Name
		if len(ctx.Value.Tag.Envs) > 0 {
			name = ctx.Value.Tag.Envs[0]
		}
		l.problems = append(l.problems, fmt.Errorf("%s: %q: give %s", name, text, what))
		n = 1 // one problem is enough
	}
	target.SetInt(n)
	return nil
}

func (l *lenient) integer(ctx *kong.DecodeContext, target reflect.Value) error {
	return l.read(ctx, target, "a whole number", func(s string) (int64, error) { return strconv.ParseInt(s, 10, 32) })
}

func (l *lenient) duration(ctx *kong.DecodeContext, target reflect.Value) error {
	return l.read(ctx, target, "a duration such as 10s, 5m or 24h", func(s string) (int64, error) {
		d, err := time.ParseDuration(s)
		return int64(d), err
	})
}
