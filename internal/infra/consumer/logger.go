package consumer

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill"
)

// quiet is Watermill's logger without the cost of lines that nobody reads: the
// router writes two of them for every message.
type quiet struct {
	watermill.LoggerAdapter
	logger *slog.Logger
}

var _ watermill.LoggerAdapter = quiet{}

// newLogger lowers Watermill's Info, which is about its own inner life, to debug.
func newLogger(logger *slog.Logger) quiet {
	return quiet{watermill.NewSlogLoggerWithLevelMapping(logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug}), logger}
}

// Trace implements watermill.LoggerAdapter.
func (q quiet) Trace(text string, fields watermill.LogFields) {
	if q.logger.Enabled(context.Background(), watermill.LevelTrace) {
		q.LoggerAdapter.Trace(text, fields)
	}
}

// With implements watermill.LoggerAdapter.
func (q quiet) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return quiet{q.LoggerAdapter.With(fields), q.logger}
}
