package outbox

import "github.com/google/wire"

// Set provides this package's parts. It needs a *database.DB, an *envelope.Catalog, a Source, a PublisherConfig, a broker.Broker, a Config and a *slog.Logger.
var Set = wire.NewSet(NewPublisher, NewForwarder, NewStore)
