package retention

import "github.com/google/wire"

// Set provides this package's parts. It needs a *database.DB, the jobs, a Config and a *slog.Logger.
var Set = wire.NewSet(NewRunner)
