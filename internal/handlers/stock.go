package handlers

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
)

// maxStock bounds what can be put into stock, far from where sums overflow.
const maxStock = 1_000_000_000_000

// stockLevel is what can still be reserved of an article.
type stockLevel struct {
	SKU       string `json:"sku"`
	Available int64  `json:"available"`
}

// put answers PUT /stock/{sku}: from now on so many are available. What is
// reserved already is not counted.
func (s *Stock) put(w http.ResponseWriter, r *http.Request) error {
	sku := r.PathValue("sku")
	if !skuForm.MatchString(sku) {
		return newProblem(http.StatusUnprocessableEntity, "the sku in the path "+skuWant)
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	o, err := parseObject(body)
	if err != nil {
		return err
	}
	quantity := o.integer("quantity", 0, maxStock)
	o.done()
	if err := o.problem(); err != nil {
		return err
	}
	_, err = s.db.ExecContext(r.Context(),
		`INSERT INTO stock (sku, available) VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET available = excluded.available`, sku, quantity)
	if err != nil {
		return fmt.Errorf("set stock: %w", err)
	}
	return writeJSON(w, http.StatusOK, stockLevel{SKU: sku, Available: quantity})
}

// get answers GET /stock/{sku}.
func (s *Stock) get(w http.ResponseWriter, r *http.Request) error {
	level := stockLevel{SKU: r.PathValue("sku")}
	if !skuForm.MatchString(level.SKU) {
		return errNoStock
	}
	err := s.db.QueryRowContext(r.Context(), `SELECT available FROM stock WHERE sku = $1`, level.SKU).Scan(&level.Available)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoStock
	}
	if err != nil {
		return fmt.Errorf("read stock: %w", err)
	}
	return writeJSON(w, http.StatusOK, level)
}
