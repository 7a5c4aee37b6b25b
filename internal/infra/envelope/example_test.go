package envelope_test

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"example.com/millwright/internal/infra/envelope"
)

// TaskDone is the current version of a payload; TaskDoneV1 had no hours.
type TaskDone struct {
	Task  string `json:"task"`
	Hours int    `json:"hours"`
}

type TaskDoneV1 struct {
	Task string `json:"task"`
}

// A message from an older producer arrives as the current type.
func Example() {
	catalog, err := envelope.NewCatalog(envelope.Type[TaskDone]{
		Name: "tasks.done", Version: 2, Topic: "tasks", Owner: "planning",
		Key: func(t TaskDone) string { return t.Task },
		Upcasters: []envelope.Upcaster{envelope.Upcast(1, func(old TaskDoneV1) (TaskDone, error) {
			return TaskDone{Task: old.Task, Hours: 1}, nil
		})},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	received := message.NewMessage("1", []byte(
		`{"specversion":"1.0","id":"e1","source":"/planner","type":"tasks.done","schemaversion":1,"data":{"task":"paint"}}`))
	e, err := envelope.FromMessage(received)
	if err != nil {
		fmt.Println(err)
		return
	}
	payload, err := catalog.Decode(e)
	fmt.Printf("%s v%d: %+v %v\n", e.Type, e.SchemaVersion, payload, err)

	e.SchemaVersion = 3
	_, err = catalog.Decode(e)
	fmt.Println(err)
	// Output:
	// tasks.done v1: {Task:paint Hours:1} <nil>
	// envelope: newer schema version: the event has version 3, this build knows 2: deploy a build that knows it, then replay (tasks.done v3, id "e1")
}
