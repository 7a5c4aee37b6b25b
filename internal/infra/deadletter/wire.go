package deadletter

import "github.com/google/wire"

// Set provides this package's parts. It needs a *database.DB, a Config and a *slog.Logger.
var Set = wire.NewSet(NewStore)
