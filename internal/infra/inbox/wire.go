package inbox

import "github.com/google/wire"

// Set provides this package's parts. It needs a *database.DB and a *slog.Logger.
var Set = wire.NewSet(New)
