// Package handlers is what the service does: its HTTP API and its reactions to
// events, one file each, on tables of its own.
//
//	api.go                routes, and the mapping of errors to statuses
//	orders.go             placing, showing and cancelling orders
//	stock.go              setting and showing stock
//	reserve_stock.go      consumer reserve-stock
//	send_confirmation.go  consumer send-confirmation; smtp.go sends its mail
//	sales_report.go       consumer sales-report, and the report
//	consumers.go          the list of consumers
//
// To add a reaction, copy reserve_stock.go (work in the database) or
// send_confirmation.go (work outside it) and add a line to consumers.go.
package handlers
