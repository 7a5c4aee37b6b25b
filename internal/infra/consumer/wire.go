package consumer

import "github.com/google/wire"

// Set provides this package's parts. It needs the consumers, an *envelope.Catalog, a broker.Broker, an *inbox.Inbox, a *deadletter.Store, a Config and a *slog.Logger.
var Set = wire.NewSet(NewRouter)
