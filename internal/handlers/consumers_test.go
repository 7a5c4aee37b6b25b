package handlers_test

import (
	"fmt"

	"example.com/millwright/internal/handlers"
)

// The consumers' names are their identity: renaming one makes it handle every
// event anew.
func ExampleConsumers() {
	for _, c := range handlers.Consumers(&handlers.Stock{}, &handlers.Confirmation{}, &handlers.SalesReport{}) {
		fmt.Println(c.Name())
	}
	// Output:
	// reserve-stock
	// send-confirmation
	// sales-report
}
