package telemetry

import "github.com/google/wire"

// Set provides this package's parts. It needs an *outbox.Store, a *deadletter.Store and a *slog.Logger.
var Set = wire.NewSet(NewRegistry, NewTables)
