package handlers

import "github.com/google/wire"

// Set provides the API, the consumers and the producers. It needs a *database.DB, a Publisher,
// a MailConfig and a *slog.Logger.
var Set = wire.NewSet(NewOrders, NewStock, NewMailer, NewConfirmation, NewSalesReport, Consumers, Producers, NewAPI)
