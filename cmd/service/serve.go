package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"

	"github.com/mattn/go-isatty"

	"example.com/millwright/internal/app"
	"example.com/millwright/internal/infra/telemetry"
)

type serveCommand struct {
	Migrate bool `help:"Bring the schema up to date first. On SQLite that is always done."`
}

// Run implements the command.
func (s serveCommand) Run(ctx context.Context, config *app.Config, to streams) error {
	// Garbage may gather to some tens of megabytes before it is collected: with a
	// live heap of a few, that would be a hundred times a second under load, a fifth
	// of the service's time. Nobody touches this memory, so it takes no room. A large
	// heap is collected as ever; GOGC and GOMEMLIMIT mean what they always do.
	defer runtime.KeepAlive(make([]byte, 32<<20))
	logger := newLogger(*config, to.err)
	service, cleanup, err := app.InitializeService(ctx, *config, nil, logger)
	if err != nil {
		return err
	}
	defer cleanup()
	err = service.Run(ctx, s.Migrate, func(at app.Addresses) {
		fmt.Fprintf(to.out, "api    http://%s\nadmin  http://%s\ndata   %s\nbroker %s\n", at.API, at.Admin, service.Storage, service.Broker)
	})
	if err == nil {
		logger.Info("stopped")
	}
	return err
}

func newLogger(config app.Config, w io.Writer) *slog.Logger {
	level, _ := telemetry.ParseLevel(config.LogLevel) // validated
	format := config.LogFormat
	if format == telemetry.FormatAuto {
		format = telemetry.FormatJSON
		if f, ok := w.(*os.File); ok && isatty.IsTerminal(f.Fd()) {
			format = telemetry.FormatText
		}
	}
	return telemetry.NewLogger(w, level, format)
}
