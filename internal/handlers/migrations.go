package handlers

import (
	"embed"
	"io/fs"

	"example.com/millwright/internal/infra/database"
)

//go:embed migrations
var files embed.FS

// Migrations makes this package's tables.
func Migrations() database.Migrations {
	sequence, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return database.Migrations{Name: "service", Files: sequence}
}
