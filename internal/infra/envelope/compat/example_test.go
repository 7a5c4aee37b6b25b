package compat_test

import (
	"fmt"

	"github.com/invopop/jsonschema"

	"example.com/millwright/internal/infra/envelope/compat"
)

func ExampleCheck() {
	type greetedV1 struct {
		Name string `json:"name"`
	}
	type greeted struct {
		Name string `json:"name"`
		Lang string `json:"lang"`
	}
	last, next := jsonschema.Reflect(greetedV1{}), jsonschema.Reflect(greeted{})
	changes, err := compat.Changes(last, next)
	if err != nil {
		fmt.Println(err)
	}
	for _, c := range changes {
		fmt.Println(c)
	}
	differences, err := compat.Check(compat.Full, next, last)
	if err != nil {
		fmt.Println(err)
	}
	for _, d := range differences {
		fmt.Printf("%s %s: %s %s\n", d.Rule, d.Pointer, d.Message, d.Counterexample)
	}
	// Output:
	// new required field "lang"
	// property-added-required /lang: An old event has no "lang", which the new schema requires. {"name":"text"}
	// property-unknown /lang: A new event may hold "lang", which an old consumer doesn't know and refuses. {"lang":"text","name":"text"}
}
