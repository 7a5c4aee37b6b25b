package main

type eventsCommand struct {
	Generate eventsGenerate `cmd:"" help:"Write the JSON Schemas of the payload types: what go generate runs."`
}
