package handlers

import (
	"embed"

	"example.com/millwright/internal/infra/database"
)

//go:embed migrations
var files embed.FS

// Migrations makes this package's tables.
func Migrations() database.Migrations {
	return database.Migrations{Name: "service", Files: files}
}
